"""What is in the archive? Questions as C-FIND and QIDO-RS ask them, answered from the index: one code path for every service.

Nouns: attribute (what can be asked about, and at which level), key (an attribute and the text to match), matcher (what that text
means, PS3.4 C.2.2.2), question (a level, matchers, attributes to tell, a page), answer (one patient, study, series or instance).
"""

from vna.query.answer import ask, count
from vna.query.attributes import ATTRIBUTES, Level
from vna.query.question import Question, question

__all__ = ["ATTRIBUTES", "Level", "Question", "ask", "count", "question"]
