"""Streamlit pages over `results`."""
