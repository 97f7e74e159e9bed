import pytest

from tailshard.chains import DILEPTON_CHAINS, ELECTRON, MUON, distinct, legs_of


@pytest.mark.parametrize(
    ("chain", "legs"),
    [
        ("mu22_mu8noL1", [(MUON, 22), (MUON, 8)]),
        ("HLT_2mu14", [(MUON, 14), (MUON, 14)]),
        ("e7_lhmedium_nod0_mu24", [(MUON, 24), (ELECTRON, 7)]),
        ("e24_lhmedium_nod0_L1EM20VHI_mu8noL1", [(ELECTRON, 24), (MUON, 8)]),
        ("2e15_lhvloose_nod0_L12EM13VH", [(ELECTRON, 15), (ELECTRON, 15)]),
        ("mu26_ivarmedium", [(MUON, 26)]),
        ("mu20_2mu4noL1", [(MUON, 20), (MUON, 4), (MUON, 4)]),
        ("e24_lhvloose_nod0_2e12_lhvloose_nod0_L1EM20VH_3EM10VH", [(ELECTRON, 24)] + 2 * [(ELECTRON, 12)]),
    ],
)
def test_legs_are_read_from_the_name_and_first_level_seeds_are_none(chain, legs):
    assert list(legs_of(chain)) == legs


def test_a_name_without_legs_is_refused():
    with pytest.raises(ValueError, match="'noalg_L1J400' names no electron or muon"):
        legs_of("noalg_L1J400")


def test_every_dilepton_chain_has_two_legs():
    assert sorted(DILEPTON_CHAINS) == [2015, 2016, 2017, 2018]
    assert {len(legs_of(chain)) for chain in distinct(DILEPTON_CHAINS)} == {2}


def test_2015_has_no_chain_of_2016():
    assert DILEPTON_CHAINS[2015] == (
        "2e12_lhloose_L12EM10VH",
        "2mu10",
        "mu18_mu8noL1",
        "e17_lhloose_mu14",
        "e7_lhmedium_mu24",
    )
    assert set(DILEPTON_CHAINS[2015]) & set(DILEPTON_CHAINS[2016]) == {"2mu10"}
    assert not any("nod0" in chain for chain in DILEPTON_CHAINS[2015])
    assert all("nod0" in chain for chain in DILEPTON_CHAINS[2016] if "e" in chain.replace("medium", ""))
    assert len(distinct(DILEPTON_CHAINS)) == 16
