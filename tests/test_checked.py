import json

import pytest

from tailshard.checked import dump_checked, load_checked

CONTENT = {"version": 2, "name": "jets µ", "sums": [1.25, -3e-7], "nested": {"crc32c": "00000000"}}


@pytest.mark.parametrize("indent", [None, 1])
def test_what_was_written_is_read(indent):
    text = dump_checked(CONTENT, indent)
    assert load_checked(text) == CONTENT
    assert load_checked(text + "\n") == CONTENT
    assert json.loads(text).keys() == {"crc32c", *CONTENT}


def test_a_flipped_bit_anywhere_is_an_error_or_changes_nothing():
    content = dump_checked(CONTENT).encode()
    for place in range(len(content)):
        for bit in range(8):
            damaged = bytearray(content)
            damaged[place] ^= 1 << bit
            try:
                found = load_checked(damaged.decode())
            except ValueError:
                continue
            # The key of the checksum itself is hit: what it guards is whole.
            assert {name: found[name] for name in CONTENT} == CONTENT
            assert place < len('{"crc32c":')


def test_json_without_a_checksum_is_taken_as_it_is():
    assert load_checked('{"version": 1}') == {"version": 1}
    assert load_checked("[]") == []
