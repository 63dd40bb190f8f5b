"""What an address asks for in vain is said, as long as what took its place is shown."""

import pytest
from streamlit.testing.v1 import AppTest


def script():
    import streamlit as st

    from dashboard import asked
    from dashboard.choice import number_binding

    asked.remember()
    place = st.container()
    st.selectbox("Baseline", ["twin", "reference"], key="baseline", bind="query-params")
    st.multiselect("Run", ["a", "b", "c"], key="run", bind="query-params")
    st.number_input(
        "Step from", min_value=0, max_value=99, value=0, step=1, key="step", bind=number_binding("step")
    )
    st.number_input("Reward from", value=None, key="reward", bind=number_binding("reward"))
    asked.say_ignored(place)


def opened(**query):
    app = AppTest.from_function(script)
    app.query_params.update(query)
    app.run()
    assert not app.exception
    return app


def said(app):
    return " ".join(warning.value for warning in app.warning).replace("\\", "")


@pytest.mark.parametrize(
    "query",
    [
        {},
        {"baseline": "reference", "run": ["a", "c"], "step": "7"},
        {"baseline": "twin", "step": "0"},  # defaults, which Streamlit takes out of the address
        {"step": "7.0", "reward": "1e-1"},
        {"utm": "elsewhere"},  # nobody's
    ],
)
def test_what_can_be_shown_is_shown_without_a_word(query):
    app = opened(**query)
    assert not app.warning
    assert app.selectbox(key="baseline").value == query.get("baseline", "twin")
    assert app.multiselect(key="run").value == query.get("run", [])
    assert app.number_input(key="step").value == float(query.get("step", 0))


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"baseline": "gone"}, "there is no baseline gone here, shown: twin"),
        ({"run": ["gone"]}, "there is no run gone here, shown: none"),
        ({"run": ["b", "gone"]}, "there is no run gone here, shown: b."),
        ({"step": "many"}, "there is no step many here, shown: 0"),
        ({"step": "inf"}, "there is no step inf here, shown: 0"),
        ({"reward": "1e400"}, "there is no reward 1e400 here, shown: none"),
    ],
)
def test_what_is_not_there_is_said_with_what_is_shown_instead(query, words):
    app = opened(**query)
    assert words in said(app)
    (name,) = query
    assert "gone" not in app.query_params.get(name, [])
    assert app.query_params.get(name) in (None, "b", ["b"])
    app.run()  # as when new results arrive
    assert words in said(app)


def test_it_is_no_longer_said_once_something_else_is_chosen():
    app = opened(baseline="gone", run=["gone"])
    app.selectbox(key="baseline").set_value("reference").run()
    assert "baseline" not in said(app)
    assert "run gone" in said(app)
    app.selectbox(key="baseline").set_value("twin").run()
    app.multiselect(key="run").set_value(["a"]).run()
    assert "run gone" not in said(app)


def test_what_an_address_says_is_text():
    app = opened(baseline="[x](http://example.org) **b** <b>" + "y" * 1000)
    (warning,) = app.warning
    assert "\\[x\\]" in warning.value
    assert "\\*\\*b\\*\\*" in warning.value
    assert "\\<b\\>" in warning.value
    assert "y" * 300 not in warning.value
