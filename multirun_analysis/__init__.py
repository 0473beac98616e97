"""What a set of runs says about depth and residual connections: `python -m multirun_analysis STUDY_DIR`.

Reads run directories and nothing else: it imports neither `labs` nor torch. From Python, `collect.collect` gives the frames.
"""
