"""What a step is, when it is not the one asked for: a catalogue of known steps, and the nearest of them.

Steps are observed on definite and on indefinite systems, and one after another. An explanation predicts the step, with at most
a few numbers fitted to it; the simplest one that is as good as the best, within a factor of three, is reported with its error.
"""

from nntk.crosscheck.diagnosis.explanation import Explanation, Observation
from nntk.crosscheck.diagnosis.nearest import Diagnosis, explain
from nntk.crosscheck.diagnosis.observe import diagnose
from nntk.crosscheck.diagnosis.registry import EXPLANATIONS

__all__ = ["EXPLANATIONS", "Diagnosis", "Explanation", "Observation", "diagnose", "explain"]
