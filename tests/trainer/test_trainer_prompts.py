"""In which order prompts are dispatched."""

from hypothesis import given
from hypothesis import strategies as st

from trainer.frontier import PromptFrontier


@given(st.integers(1, 50), st.integers(0, 1000))
def test_every_epoch_is_a_permutation_and_a_seed_fixes_all_of_them(problems, seed):
    frontier, twin = PromptFrontier(problems, seed), PromptFrontier(problems, seed)
    drawn = [frontier.next() for _ in range(3 * problems)]
    assert drawn == [twin.next() for _ in range(3 * problems)]
    for epoch in range(3):
        part = drawn[epoch * problems : (epoch + 1) * problems]
        assert sorted((prompt.index, prompt.epoch) for prompt in part) == [
            (index, epoch) for index in range(problems)
        ]


def test_seeds_and_epochs_have_orders_of_their_own():
    orders = []
    for seed in range(3):
        frontier = PromptFrontier(30, seed)
        drawn = [frontier.next().index for _ in range(60)]
        orders += [tuple(drawn[:30]), tuple(drawn[30:])]
    assert len(set(orders)) == 6


def test_what_is_put_back_comes_first_and_the_oldest_of_it_before_the_rest():
    frontier = PromptFrontier(5, seed=0)
    drawn = [frontier.next() for _ in range(4)]
    for prompt in (drawn[2], drawn[0], drawn[3]):
        frontier.put_back(prompt)
    assert [frontier.next() for _ in range(3)] == [drawn[0], drawn[2], drawn[3]]
    assert frontier.next().ordinal == 4


@given(st.lists(st.sampled_from(["draw", "put back"]), max_size=60), st.integers(0, 60))
def test_a_restored_frontier_goes_on_like_the_one_that_was_saved(actions, undecided):
    frontier, restored = PromptFrontier(7, seed=3), PromptFrontier(7, seed=3)
    outstanding = []
    for action in actions:
        if action == "draw":
            outstanding.append(frontier.next())
        elif outstanding:
            frontier.put_back(outstanding.pop(len(outstanding) // 2))
    restored.restore(**frontier.state(outstanding[:undecided]))
    for prompt in outstanding[:undecided]:
        frontier.put_back(prompt)
    assert [restored.next() for _ in range(30)] == [frontier.next() for _ in range(30)]
