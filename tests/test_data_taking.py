import numpy as np
import pytest
from pydantic import ValidationError

from tailshard.data_taking import RUN_2, Campaign, year_of
from tailshard.errors import ConfigError
from tailshard.pipeline_files import load, shipped


def test_no_run_between_the_years_is_lost():
    run = np.array([1, 276262, 284500, 284501, 320000, 320001, 348000, 348001, 399999], dtype=np.uint64)
    assert year_of(run).tolist() == [2015, 2015, 2015, 2016, 2016, 2017, 2017, 2018, 2018]


def test_run_0_and_runs_after_the_last_year_have_no_year():
    assert year_of(np.array([0, 400000, 427882])).tolist() == [0, 0, 0]


@pytest.mark.parametrize(
    ("first", "last", "year"),
    [(276262, 284484, 2015), (297730, 311481, 2016), (325713, 340453, 2017), (348885, 364292, 2018)],
)
def test_runs_of_collisions_have_the_year_in_which_they_were_taken(first, last, year):
    assert year_of(np.array([first, last])).tolist() == [year, year]


def test_campaigns_have_the_luminosities_of_run_2_in_inverse_femtobarn():
    assert [campaign.total for campaign in RUN_2] == pytest.approx([36.20766, 44.3074, 58.4501])
    assert sum(campaign.total for campaign in RUN_2) == pytest.approx(138.96516)
    with_units = Campaign(name="mc16a", luminosity={2015: "3219.56 pb^-1", 2016: "32988.1 pb^-1"})
    assert with_units.luminosity == pytest.approx(RUN_2[0].luminosity)
    with pytest.raises(ValidationError):
        Campaign(name="mc21a", luminosity={2022: 1.258})


@pytest.mark.parametrize("name", ["thesis-2lep", "thesis-3lep"])
def test_the_thesis_pipelines_have_the_campaigns_of_run_2(name):
    pipeline = load(shipped(name))
    for ours, known in zip(pipeline.campaigns, RUN_2, strict=True):
        assert ours.name == known.name
        assert ours.luminosity == pytest.approx(known.luminosity)
    assert pipeline.kept_years == (2015, 2016, 2017, 2018)


def test_some_years_can_be_kept():
    pipeline = load(shipped("thesis-2lep"), ["years=[2015, 2016]", "luminosity=36.208"])
    assert pipeline.kept_years == (2015, 2016)
    assert pipeline.campaigns[0].total == pytest.approx(36.20766)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["luminosity=36.2"], r"luminosity is 36.2 fb\^-1, but the campaigns give 138.965 fb\^-1"),
        (["years=[2015, 2016]"], r"give 36.2077 fb\^-1 for the years \[2015, 2016\]"),
        (["campaigns=[]", "years=[2017]"], r"years names \[2017\], of which no campaign gives"),
        (["campaigns.1.luminosity={2016: 44.3}"], r"two campaigns simulate the years \[2016\]"),
        (["years=[2022]"], "years.0"),
        (["datasets.0.luminosity=3"], "luminosity is for data"),
    ],
)
def test_what_does_not_fit_together_is_refused(overrides, message):
    with pytest.raises(ConfigError, match=message):
        load(shipped("thesis-2lep"), overrides)


def test_data_of_another_luminosity_says_so():
    assert load(shipped("thesis-2lep")).data_luminosity == 138.965
    benchmark = load(shipped("benchmark-2lep"))
    assert (benchmark.luminosity, benchmark.data_luminosity) == (139, pytest.approx(0.0196))
    more = "{channel: more, kind: data, dialect: atlas-2025, files: b.root, luminosity: 3}"
    with pytest.raises(ConfigError, match="of kind data differ in luminosity"):
        load(shipped("benchmark-2lep"), [f"datasets.0={more}"])
