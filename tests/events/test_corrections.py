"""Real files of correctionlib, made and evaluated by it."""

import gzip
import json

import numpy as np
import pytest

from tailshard.correction import Correction
from tailshard.cuts import LeptonCuts, Selection
from tailshard.errors import ConfigError, ProcessingError
from tailshard.events.corrections import check_correction, correction_factor, fingerprint
from tailshard.events.objects import select_objects

ANY = LeptonCuts(minimum_pt=0, maximum_abs_eta=10, identification="none")


def variable(name, kind):
    return {"name": name, "type": kind}


def binned(name, edges, content, flow="clamp"):
    return {
        "nodetype": "binning",
        "input": name,
        "edges": [float(edge) for edge in edges],
        "content": content,
        "flow": flow,
    }


def document(*corrections, compound=()):
    return {"schema_version": 2, "corrections": list(corrections), "compound_corrections": list(compound)}


def correction(name, inputs, data):
    output = variable("weight", "real")
    return {"name": name, "version": 1, "inputs": inputs, "output": output, "data": data}


BY_MET = correction("by_met", [variable("met", "real")], binned("met", [0, 100, 1000], [0.9, 1.1]))
STRICT = correction("strict", [variable("met", "real")], binned("met", [0, 100], [2.0], "error"))
BY_PAIR = correction("by_pair", [variable("mass", "real")], binned("mass", [0, 50, 500], [0.5, 1.5]))
BY_COUNT = correction("by_count", [variable("n", "int")], binned("n", [0, 1, 2, 9], [1.0, 2.0, 4.0]))
ELECTRONS = correction(
    "electrons",
    [variable("kind", "string"), variable("abs_eta", "real"), variable("pt", "real")],
    {
        "nodetype": "category",
        "input": "kind",
        "content": [
            {
                "key": "nominal",
                "value": binned("abs_eta", [0, 1.4, 2.5], [binned("pt", [0, 30, 999], [0.8, 0.9]), 0.5]),
            }
        ],
    },
)
NONSENSE = correction(
    "nonsense",
    [variable("x", "real")],
    {"nodetype": "formula", "parser": "TFormula", "variables": ["x"], "expression": "1/(x-x)"},
)
TWICE = {
    "name": "twice",
    "inputs": [variable("met", "real")],
    "output": variable("weight", "real"),
    "inputs_update": [],
    "input_op": "*",
    "output_op": "*",
    "stack": ["by_met", "by_met"],
}


@pytest.fixture
def folder(tmp_path):
    content = document(BY_MET, STRICT, BY_PAIR, BY_COUNT, ELECTRONS, NONSENSE, compound=[TWICE])
    (tmp_path / "sf.json").write_text(json.dumps(content))
    (tmp_path / "sf.json.gz").write_bytes(gzip.compress(json.dumps(content).encode()))
    (tmp_path / "broken.json").write_text("{")
    (tmp_path / "other.json").write_text('{"schema_version": 7}')
    return str(tmp_path)


def asked(name, inputs, file="sf.json", **constants):
    return Correction(file=file, name=name, inputs=inputs, constants=constants)


@pytest.fixture
def evaluate(folder, make_events):
    def evaluate(asked, leptons, **fields):
        events = make_events(leptons, **fields)
        objects = select_objects(events, Selection(electrons=ANY, muons=ANY), 4)
        check_correction(asked, folder, has_years="conditions_run" in events.fields)
        factor = correction_factor(asked, folder, events, objects)
        assert factor.dtype == np.float64
        return factor.tolist()

    return evaluate


@pytest.mark.parametrize("file", ["sf.json", "sf.json.gz"])
def test_a_quantity_of_the_event(evaluate, file):
    factors = evaluate(asked("by_met", {"met": "met"}, file), [[]] * 3, met=[50.0, 100.0, 5000.0])
    assert factors == [0.9, 1.1, 1.1]


def test_factors_of_all_objects_of_an_event_are_multiplied(evaluate):
    leptons = [
        [{"pt": 20.0, "eta": -0.5}, {"pt": 40.0, "eta": 1.0}, {"pt": 50.0, "flavour": 13}],
        [{"pt": 20.0, "eta": -2.0}],
        [{"pt": 20.0, "flavour": 13}],
    ]
    its = asked("electrons", {"abs_eta": "electrons.abs_eta", "pt": "electrons.pt"}, kind="nominal")
    assert evaluate(its, leptons) == pytest.approx([0.8 * 0.9, 0.5, 1])


def test_an_event_and_its_objects_may_go_together(evaluate):
    its = asked("electrons", {"abs_eta": "electrons.abs_eta", "pt": "met"}, kind="nominal")
    assert evaluate(its, [[{"pt": 9.0}] * 2, [], [{"pt": 9.0}]], met=[10.0, 10.0, 50.0]) == pytest.approx(
        [0.64, 1, 0.9]
    )


def test_an_event_without_the_quantity_is_left_as_it_is(evaluate):
    pair = [{"pt": 60.0, "phi": 0.0}, {"pt": 60.0, "phi": np.pi}]
    assert evaluate(asked("by_pair", {"mass": "m_ll"}), [pair, pair[:1], []]) == [1.5, 1, 1]


def test_whole_numbers_and_compounds(evaluate):
    assert evaluate(asked("by_count", {"n": "leptons"}), [[], [{"pt": 9.0}], [{"pt": 9.0}] * 3]) == [1, 2, 4]
    assert evaluate(asked("twice", {"met": "met"}), [[]], met=[10.0]) == pytest.approx([0.81])


def test_the_year_is_known_where_there_are_campaigns(evaluate, folder):
    its = asked("by_count", {"n": "year"})
    assert evaluate(its, [[]], conditions_run=np.array([300000], dtype=np.uint64)) == [4]
    with pytest.raises(ConfigError, match="mapped to 'year', which is not known"):
        check_correction(its, folder, has_years=False)


def test_no_events_have_no_factors(evaluate):
    assert evaluate(asked("by_met", {"met": "met"}), []) == []
    its = asked("electrons", {"abs_eta": "electrons.abs_eta", "pt": "electrons.pt"}, kind="nominal")
    assert evaluate(its, []) == []


@pytest.mark.parametrize(
    ("its", "message"),
    [
        (asked("by_met", {"met": "met"}, "no.json"), r"cannot read .*no.json \(No such file or directory\)"),
        (asked("by_met", {"met": "met"}, "broken.json"), "no set of corrections in the correctionlib format"),
        (asked("by_met", {"met": "met"}, "other.json"), "no set of corrections in the correctionlib format"),
        (asked("by_mte", {"met": "met"}), "there is none of that name; the file holds by_count, by_met, "),
        (asked("by_met", {"mte": "met"}), "it needs the inputs met, but inputs and constants give mte"),
        (asked("electrons", {"abs_eta": "met", "pt": "met"}), "needs the inputs kind, abs_eta, pt, but"),
        (asked("by_met", {"met": "mte"}), "'met' is mapped to 'mte', which is not known; use one of met,"),
        (asked("by_met", {"met": "photons.pt"}), "mapped to 'photons.pt', which is not known"),
        (asked("by_met", {"met": "jets.charge"}), "mapped to 'jets.charge', which is not known"),
        (asked("by_count", {"n": "met"}), "'n' is of type int, but 'met' is no whole number"),
        (asked("by_met", {"met": "met"}, met=3.0), "'met' is given in inputs and in constants"),
        (
            asked("electrons", {"kind": "met", "abs_eta": "met", "pt": "met"}),
            "'kind' is of type string; give it in constants",
        ),
        (
            asked("electrons", {"abs_eta": "met", "pt": "met"}, kind=3),
            "'kind' is of type string, but the constant is 3",
        ),
        (
            asked("electrons", {"abs_eta": "electrons.eta", "pt": "muons.pt"}, kind="nominal"),
            "its inputs are of electrons and muons; objects of one kind at a time",
        ),
    ],
)
def test_what_cannot_be_evaluated_is_refused_before_any_event_is_read(folder, its, message):
    with pytest.raises(ConfigError, match=message) as raised:
        check_correction(its, folder, has_years=False)
    assert its.name in str(raised.value)


@pytest.mark.parametrize(
    ("its", "message"),
    [
        (
            asked("strict", {"met": "met"}),
            "'strict' of sf.json cannot be evaluated for some event: .*clamp",
        ),
        (asked("nonsense", {"x": "met"}), r"'nonsense' of sf.json is (inf|nan) for x = 500"),
    ],
)
def test_what_fails_for_an_event_names_the_correction(evaluate, its, message):
    with pytest.raises(ProcessingError, match=message):
        evaluate(its, [[]], met=[500.0])


def test_the_fingerprint_follows_the_content_and_not_the_place(folder, tmp_path):
    its = asked("by_met", {"met": "met"})
    before = fingerprint(its, folder)
    assert fingerprint(its.model_copy(update={"file": str(tmp_path / "sf.json")}), None) == before
    assert fingerprint(its.model_copy(update={"file": "sf.json.gz"}), folder) == before
    changed = (tmp_path / "sf.json").read_text().replace("0.9", "0.95")
    (tmp_path / "sf.json").write_text(changed)
    assert fingerprint(its, folder) != before


def test_a_changed_file_is_read_again(evaluate, tmp_path):
    its = asked("by_met", {"met": "met"})
    assert evaluate(its, [[]], met=[10.0]) == [0.9]
    (tmp_path / "sf.json").write_text((tmp_path / "sf.json").read_text().replace("0.9", "0.7"))
    assert evaluate(its, [[]], met=[10.0]) == [0.7]
