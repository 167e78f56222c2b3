"""The menu, nothing else: Streamlit runs this file for every session and every click."""

from app import frame

frame.run()
