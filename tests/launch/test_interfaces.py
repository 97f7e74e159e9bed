import pytest

from tailshard.errors import ClusterError
from tailshard.launch.interfaces import address_of


def test_an_interface_has_an_address() -> None:
    assert address_of("lo") == "127.0.0.1"
    assert address_of(None)


def test_an_interface_that_is_not_there_is_named_with_those_that_are() -> None:
    with pytest.raises(ClusterError, match=r"no network interface 'ib7'.*lo.*scheduler_interface"):
        address_of("ib7")
