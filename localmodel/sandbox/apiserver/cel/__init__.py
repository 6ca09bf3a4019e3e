"""CEL as Kubernetes has it: `Environment` compiles expressions, `RuleSet` asks the rules of a CustomResourceDefinition.

Parsing and type check are those of cel-cpp; evaluation and the Kubernetes library are here (see `environment`).
"""

from .environment import CompilationError, Environment, Program
from .rules import RuleSet, rule_faults
from .values import EvaluationError

__all__ = ["CompilationError", "Environment", "EvaluationError", "Program", "RuleSet", "rule_faults"]
