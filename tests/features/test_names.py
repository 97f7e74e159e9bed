from tailshard.config import Multiplicities
from tailshard.features.rmm import cell_names, row_names

DEFAULT = Multiplicities()
SMALL = Multiplicities(light_jets=1, b_jets=2, electrons=1, muons=1)


def test_rows_are_named_in_the_order_of_the_blocks():
    assert row_names(SMALL) == ["MET", "light jet 1", "b jet 1", "b jet 2", "electron 1", "muon 1"]


def test_every_cell_says_what_it_holds():
    names = cell_names(SMALL)
    assert names[0][0] == "MET"
    assert names[0][4] == "mT(electron 1)"
    assert names[5][0] == "hL(muon 1)"
    assert names[2][2] == "ET(b jet 1)"
    assert names[3][3] == "dET(b jet 1, b jet 2)"
    assert names[1][3] == "m(light jet 1, b jet 2)"
    assert names[3][1] == "h(b jet 2, light jet 1)"


def test_names_are_unique_and_as_many_as_cells():
    for latex in (False, True):
        names = cell_names(DEFAULT, latex=latex)
        assert [len(row) for row in names] == [DEFAULT.size] * DEFAULT.size
        assert len({name for row in names for name in row}) == DEFAULT.size**2
        assert len(set(row_names(DEFAULT, latex=latex))) == DEFAULT.size


def test_labels_for_figures_are_latex():
    assert row_names(SMALL, latex=True)[3] == "$b_{2}$"
    names = cell_names(SMALL, latex=True)
    assert names[0][0] == r"$p_T^\mathrm{miss}$"
    assert names[1][5] == r"$m(j_{1}, \mu_{1})$"
