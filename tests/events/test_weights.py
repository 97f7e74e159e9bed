import numpy as np
import pytest

from tailshard.config import Dataset
from tailshard.data_taking import RUN_2
from tailshard.errors import ConfigError, InputError
from tailshard.events.weights import event_weight, require_normalisation, sample_of


def dataset(kind="background", dialect="atlas-2020", **overrides):
    return Dataset(channel="sample", kind=kind, dialect=dialect, files="a.root", **overrides)


def simulated(make_events, **fields):
    size = len(next(iter(fields.values())))
    defaults = {"generator_weight": np.ones(size), "scale_factor": np.ones(size)}
    return make_events([[]] * size, **(defaults | fields))


def test_data_weighs_one_and_needs_no_simulation_field(make_events):
    weight = event_weight(make_events([[], []]), dataset(kind="data"), luminosity=36.1)
    assert weight.tolist() == [1, 1]
    assert weight.dtype == np.float64


def test_simulation_weighs_luminosity_times_cross_section_over_the_sum_of_weights(make_events):
    events = simulated(
        make_events,
        generator_weight=[1.5, -0.5],
        scale_factor=[0.9, 1.1],
        cross_section=[2.0, 2.0],
        sum_of_weights=[1e4, 1e4],
    )
    weight = event_weight(events, dataset(), luminosity=10)
    assert weight == pytest.approx(
        [10 * 1000 * 2 * 1.5 * 0.9 / 1e4, -10 * 1000 * 2 * 0.5 * 1.1 / 1e4], rel=1e-15
    )


def test_the_dataset_overrides_the_file(make_events):
    events = simulated(make_events, cross_section=[1.0], sum_of_weights=[1.0])
    both = dataset(cross_section="0.6 pb", sum_of_weights=300)
    assert event_weight(events, both, luminosity=1) == pytest.approx([1000 * 0.6 / 300])
    events = simulated(make_events, cross_section=[2.0], sum_of_weights=[100.0])
    assert event_weight(events, dataset(cross_section=4.0), 1) == pytest.approx([40])
    assert event_weight(events, dataset(sum_of_weights=50), 1) == pytest.approx([40])


def test_a_whole_sample_adds_up_to_luminosity_times_cross_section_however_small_its_weights(make_events):
    # The 8 TeV t-channel has generator weights of 2e-8; its table gives a cross-section and L_eff.
    cross_section, effective_luminosity = 17.52 * 1.05, 24.21e3
    generator_weight = np.full(50, effective_luminosity * cross_section / 50)
    for unit in (1.0, 1.8e-8):
        events = simulated(make_events, generator_weight=generator_weight * unit)
        sample = dataset(
            cross_section=cross_section, sum_of_weights=effective_luminosity * cross_section * unit
        )
        assert event_weight(events, sample, 1.0).sum() == pytest.approx(1000 * cross_section, rel=1e-12)


@pytest.mark.parametrize(
    ("cross_section", "sum_of_weights"), [(1.0, 1.0), (0.0, 1.0), (0.0, 500.0), (3.0, 0.0), (np.nan, 500.0)]
)
@pytest.mark.parametrize("given", [{}, {"cross_section": 0.6}, {"sum_of_weights": 4e6}], ids=str)
def test_placeholders_in_the_file_are_refused_unless_both_are_overridden(
    make_events, cross_section, sum_of_weights, given
):
    events = simulated(make_events, cross_section=[cross_section], sum_of_weights=[sum_of_weights])
    with pytest.raises(ConfigError, match=r"'sample' must give .*the file holds placeholders") as raised:
        event_weight(events, dataset(**given), luminosity=1)
    assert all(name not in str(raised.value).split(":")[0] for name in given)


def test_a_release_without_normalisation_asks_for_both_and_tells_how_to_get_them(make_events):
    events = simulated(make_events, generator_weight=[1.0])
    with pytest.raises(
        ConfigError, match=r"cross_section and sum_of_weights.*sum_of_weights = effective luminosity"
    ):
        event_weight(events, dataset(dialect="atlas-2016"), luminosity=1)


def test_data_needs_no_normalisation():
    require_normalisation(dataset(kind="data"), "never said")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("column", ["generator_weight", "scale_factor"])
def test_a_weight_that_is_not_finite_is_refused_with_the_event_named(make_events, column, bad):
    events = simulated(
        make_events, **{column: [1.0, bad, bad]}, cross_section=[1.0] * 3, sum_of_weights=[100.0] * 3
    )
    with pytest.raises(InputError, match=r"2 of 3 event weights are not finite; .*run 284500, event 1"):
        event_weight(events, dataset(), luminosity=1)


def test_a_release_without_scale_factors_has_factors_of_one(make_events):
    events = make_events([[]], generator_weight=[2.0], cross_section=[1.0], sum_of_weights=[1000.0])
    assert event_weight(events, dataset(), luminosity=1).tolist() == [2.0]


# Campaigns


def of_run(make_events, runs, **more):
    runs = np.array(runs, dtype=np.uint64)
    return make_events(
        [[]] * len(runs),
        conditions_run=runs,
        generator_weight=np.ones(len(runs)),
        cross_section_per_weight=np.full(len(runs), 2e-6),
        **more,
    )


def susy(**more):
    return dataset(dialect="susy-skim", **more)


def test_a_campaign_is_scaled_as_a_whole_and_no_run_at_a_boundary_is_lost(make_events):
    runs = [276262, 284500, 284501, 320000, 320001, 348000, 348001, 364292]
    weight = event_weight(of_run(make_events, runs), susy(), 138.965, RUN_2)
    luminosities = [36207.66] * 4 + [44307.4] * 2 + [58450.1] * 2  # pb^-1
    assert weight == pytest.approx([2e-6 * luminosity for luminosity in luminosities], rel=1e-12)


def test_weight_of_the_susy_group(make_events):
    events = of_run(make_events, [300000], scale_factor=[0.9])
    events["generator_weight"] = np.array([-250.0])
    weight = event_weight(events, susy(), 138.965, RUN_2)
    assert weight == pytest.approx([36207.66 * 2e-6 * -250 * 0.9], rel=1e-12)


def test_a_unit_other_than_pb_is_said_in_the_pipeline_and_nowhere_else(make_events):
    events = of_run(make_events, [300000])
    for unit, factor in (("pb", 1), ("fb", 1e-3), ("nb", 1e3)):
        for channel in ("Zeejets", "ttbar"):
            its = susy(cross_section_unit=unit, name=channel)
            expected = 36207.66 * 2e-6 * factor
            assert event_weight(events, its, 138.965, RUN_2) == pytest.approx([expected])
    in_file = simulated(make_events, cross_section=[3.0], sum_of_weights=[50.0])
    assert event_weight(in_file, dataset(cross_section_unit="fb"), 2) == pytest.approx([2 * 3.0 / 50])
    assert event_weight(in_file, dataset(cross_section_unit="fb", cross_section=3.0), 2) == pytest.approx(
        [2000 * 3.0 / 50]
    )


def test_data_weighs_one_whatever_its_campaign(make_events):
    events = make_events([[], []], conditions_run=np.array([280000, 427882], dtype=np.uint64))
    assert event_weight(events, susy(kind="data"), 138.965, RUN_2).tolist() == [1, 1]


def test_run_0_has_no_collisions_to_stand_for(make_events):
    assert event_weight(of_run(make_events, [0, 300000]), susy(), 1, RUN_2)[0] == 0


@pytest.mark.parametrize(
    ("run", "message"),
    [(330000, "run 330000, year 2017"), (427882, "run 427882, no year up to 2018")],
)
def test_simulation_of_a_year_without_campaign_is_refused(make_events, run, message):
    events = of_run(make_events, [300000, run])
    with pytest.raises(InputError, match=rf"1 of 2 events .* {message}.*campaigns have 2015, 2016, 2018"):
        event_weight(events, susy(), 1, (RUN_2[0], RUN_2[2]))


def test_cross_section_and_sum_of_weights_override_their_ratio_together_only(make_events):
    events = of_run(make_events, [300000])
    both = event_weight(events, susy(cross_section=3.0, sum_of_weights=1e6), 1, RUN_2)
    assert both == pytest.approx([36207.66 * 3e-6])
    with pytest.raises(ConfigError, match="must give sum_of_weights: susy-skim files hold only their ratio"):
        event_weight(events, susy(cross_section=3.0), 1, RUN_2)


def test_samples_that_were_merged_are_not_taken_for_one(make_events):
    events = of_run(make_events, [300000, 300000])
    assert sample_of(events, susy()) == "sample (2e-06 pb over 1)"
    events["cross_section_per_weight"] = np.array([2e-6, 3e-6])
    assert sample_of(events, susy()) == "sample (2e-06 to 3e-06 pb per unit of weight)"
