"""`--set`: stronger than all that a spec says, and merged as a spec is."""

import pytest

from sweepctl.errors import SpecError
from sweepctl.expansion.expand import expand
from sweepctl.spec.file import SpecFile, checked
from sweepctl.spec.resolve import resolve
from sweepctl.spec.source import parse


def loaded(text: str) -> SpecFile:
    return checked(parse(text, "spec.yaml"))


def points(text: str, overrides: tuple[str, ...] = ()):
    return expand(resolve(loaded(text), None, overrides)).points


def test_a_task_in_set_replaces_the_one_of_base():
    text = "{version: 1, name: n, base: {task: {name: gsm8k, problems: 5}}}"
    (point,) = points(text, overrides=("task=arithmetic",))
    assert point.config.task.name == "arithmetic"
    assert point.config.task.problems is None
    (point,) = points(text, overrides=("task.problems=7",))
    assert (point.config.task.name, point.config.task.problems) == ("gsm8k", 7)


@pytest.mark.parametrize(
    ("given_set", "message"),
    [
        ("max_steps", "--set max_steps: expected key=value, such as --set max_steps=10"),
        ("max_step=3", "--set max_step=3: unknown key 'max_step'; did you mean 'max_steps'?"),
        ("max_steps=many", "--set max_steps=many: max_steps: should be a valid integer, found 'many'"),
        ("optim={lrr: 1}", "--set optim={lrr: 1}: unknown key 'optim.lrr'; did you mean 'optim.lr'?"),
        ("max_steps=[1", "--set max_steps=[1: not valid YAML: expected ',' or ']', but got '<stream end>'"),
    ],
)
def test_a_bad_set_is_said(given_set, message):
    with pytest.raises(SpecError) as error:
        points("{version: 1, name: n}", overrides=(given_set,))
    assert str(error.value) == message


class TestSetOfTheSpec:
    SPEC = """
version: 1
name: n
parameters: {max_staleness: [0, 1]}
profiles:
  here: {seeds: [5, 6], eval: {limit: 10, margin: 4}}
eval: {num_fewshot: [0]}
"""

    @staticmethod
    def resolved(*overrides, profile="here"):
        return resolve(loaded(TestSetOfTheSpec.SPEC), profile, overrides)

    def test_it_is_stronger_than_the_spec_and_its_profile(self):
        found = self.resolved("seeds=[0, 1, 2]", "eval.limit=50", "eval.num_fewshot=[4]")
        assert found.seeds == (0, 1, 2)
        assert (found.evaluation.limit, found.evaluation.margin, found.evaluation.num_fewshot) == (
            50,
            4,
            (4,),
        )

    def test_maps_merge_and_sections_that_are_not_there_begin(self):
        found = self.resolved(
            "timeout={run: 1h}", "timeout.idle=5m", "retry.max_attempts=1", "resources.concurrency=2",
            "mirrors=[tensorboard]", "tags=[a, b]", "stop_after_consecutive_failures=1",
        )  # fmt: skip
        assert (found.spec.timeout.run, found.spec.timeout.idle) == (3600.0, 300.0)
        assert (found.spec.retry.max_attempts, found.spec.retry.backoff) == (1, 10.0)
        assert found.spec.resources.concurrency == 2
        assert (found.spec.mirrors, found.spec.tags) == (("tensorboard",), ("a", "b"))
        assert found.spec.stop_after_consecutive_failures == 1
        assert found.seeds == (5, 6)

    @pytest.mark.parametrize("there", ["optim.lr: 1e-6", "optim: {lr: 1e-6}"])
    @pytest.mark.parametrize(
        "given_set",
        ["reference.optim.lr=1e-5", "reference={optim.lr: 1e-5}", "reference={optim: {lr: 1e-5}}"],
    )
    def test_maps_merge_however_their_keys_are_nested(self, there, given_set):
        text = f"{{version: 1, name: n, reference: {{max_steps: 9, {there}}}}}"
        (_, found) = resolve(loaded(text), None, [given_set]).reference
        assert {key: (leaf.value, leaf.text) for key, leaf in found.items()} == {
            "max_steps": (9, "9"),
            "optim.lr": (1e-5, "1e-5"),
        }

    @pytest.mark.parametrize(
        ("there", "given_set", "tasks"),
        [
            ("gsm8k", "task=arithmetic", {"task.name": "arithmetic"}),
            ("gsm8k", "task.name=arithmetic", {"task.name": "arithmetic"}),
            ("gsm8k", "task={problems: 5}", {"task.name": "gsm8k", "task.problems": 5}),
            ("{name: gsm8k, problems: 5}", "task=arithmetic", {"task.name": "arithmetic"}),
            ("{name: gsm8k, problems: 5}", "task.problems=6", {"task.name": "gsm8k", "task.problems": 6}),
        ],
    )
    def test_a_task_merges_whether_it_is_a_name_or_a_map(self, there, given_set, tasks):
        text = f"{{version: 1, name: n, baseline: {{task: {there}}}}}"
        found = resolve(loaded(text), None, [f"baseline.{given_set}"]).baseline
        assert {key: leaf.value for key, leaf in found.items()} == tasks

    def test_an_empty_map_changes_nothing(self):
        found = self.resolved("eval={}", "timeout={}")
        assert (found.evaluation.limit, found.evaluation.margin, found.spec.timeout.run) == (10, 4, None)
        assert resolve(loaded("{version: 1, name: n}"), None, ["eval={}"]).evaluation.limit is None
        text = "{version: 1, name: n, profiles: {here: {eval: {limit: 3}}}}"
        assert resolve(loaded(text), "here", ["eval={}"]).evaluation.limit == 3

    def test_a_seed_is_every_runs_and_seeds_are_the_sweeps(self):
        spec = loaded("{version: 1, name: n}")
        assert [p.config.seed for p in expand(resolve(spec, None, ["seed=4"])).points] == [4]
        assert [p.run_name for p in expand(resolve(spec, None, ["seeds=[07, 8]"])).points] == [
            "run_seed07",
            "run_seed8",
        ]

    @pytest.mark.parametrize(
        ("given_set", "message"),
        [
            ("name=x", "--set name=x: 'name' can only be changed in spec.yaml"),
            ("zip=[]", "--set zip=[]: 'zip' can only be changed in spec.yaml"),
            ("seeds=3", "--set seeds=3: seeds: should be a list, found 3"),
            ("eval.limits=3", "--set eval.limits=3: unknown key 'limits'; did you mean 'limit'?"),
            (
                "retry.backoff=soon",
                "--set retry.backoff=soon: retry.backoff: a duration is a number and a unit,",
            ),
            ("max_runs=3", "--set max_runs=3: 'max_runs' is only for method: random"),
            ("when=[{if: {max_staleness: 9}, tags: [x]}]", "when matches no point: max_staleness = 9"),
        ],
    )
    def test_what_is_wrong_names_the_option(self, given_set, message):
        with pytest.raises(SpecError) as error:
            expand(self.resolved(given_set))
        assert str(error.value).startswith(message) or message in str(error.value)
        assert all(problem.place.file == f"--set {given_set}" for problem in error.value.problems)
