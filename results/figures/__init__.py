"""Figures: pure functions from a frame to a Plotly figure. They read nothing and know no page."""
