"""The submit side: an experiment file in, elements planned, started, watched and taken up again; no torch here."""
