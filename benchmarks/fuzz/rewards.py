"""Rewards of a user's own that fail, or touch what is not theirs."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
from typing import Any

import numpy as np
from hypothesis import strategies as st
from kedro.io import CatalogProtocol
from kedro.pipeline import Pipeline

from benchmarks.fuzz.cases import Case, Family

#: What a module or a function may do besides.
ACTIONS = (
    "pass", "pass", "pass", "raise ValueError", "raise ValueError('bad\\nvalue')",
    "raise SystemExit", "raise BaseException('x')", "raise GeneratorExit", "raise StopIteration",
    "raise MemoryError", "raise RecursionError('x')", "raise KeyError('x')",
    "raise OSError(28, 'No space left on device', 'x')",
    "raise UnicodeDecodeError('utf-8', b'x', 0, 1, 'x')", "raise torch.OutOfMemoryError('x')",
    "raise ImportError", "raise NotImplementedError", "raise AssertionError", "raise Warning('x')",
    "raise type('Odd', (Exception,), {'__str__': lambda self: 1 / 0})()",
    "raise ExceptionGroup('x', [ValueError('y')])", "import sys; sys.exit(0)",
    "import sys; sys.exit('bye')", "exit(3)", "quit()", "1 / 0", "[][1]", "{}['x']", "undefined",
    "import no_such_module", "from torch import no_such_name", "open('/no/such/file')", "int('x')",
    "torch.zeros(2) + torch.zeros(3)", "assert False", "assert False, 'x' * 9999",
    "def deep(): return deep()\\ndeep()", "print('x' * 10000)",
    "import sys; print('x', file=sys.stderr)", "print('Error: mine')",
    "import warnings; warnings.warn('x')", "import logging; logging.error('x')",
    "import logging; logging.disable()", "import logging; logging.getLogger().setLevel(0)",
    "import logging; logging.basicConfig(level=0, force=True)",
    "torch.set_default_dtype(torch.float64)", "torch.set_default_dtype(torch.float16)",
    "torch.set_grad_enabled(False)", "torch.set_num_threads(3)",
    "torch.set_default_device('meta')", "torch.manual_seed(0)", "import random; random.seed(0)",
    "import numpy; numpy.random.seed(0)", "torch.use_deterministic_algorithms(True)",
    "torch.set_float32_matmul_precision('medium')", "torch.backends.cudnn.benchmark = True",
    "torch.backends.cuda.matmul.allow_tf32 = True", "torch.autograd.set_detect_anomaly(True)",
    "torch.inference_mode().__enter__()", "torch.autocast('cpu', torch.bfloat16).__enter__()",
    "torch.set_printoptions(precision=1)", "import os; os.chdir('/')",
    "import signal; signal.signal(signal.SIGINT, signal.SIG_IGN)",
    "import signal; signal.signal(signal.SIGTERM, signal.SIG_DFL)",
    "import sys; sys.stdout.close()", "import sys; sys.stdout = None",
    "import sys; sys.stderr = None", "import sys; sys.argv.clear()",
    "import sys; sys.excepthook = None", "import gc; gc.disable()", "import time; time.sleep(0.3)",
    "import threading; threading.Thread(target=lambda: None).start()",
    "import locale; locale.setlocale(locale.LC_ALL, 'C')",
    "import warnings; warnings.simplefilter('error')", "import numpy; numpy.seterr(all='raise')",
    "import decimal; decimal.getcontext().prec = 1", "import builtins; builtins.print = None",
    "import atexit; atexit.register(lambda: 1 / 0)",
    "import pandas; pandas.options.mode.copy_on_write = True",
)  # fmt: skip
#: What only a function can do.
DEEDS = (
    "images.mul_(0)", "images *= 255", "images.clamp_(0.4, 0.5)", "images.resize_(0)",
    "images.requires_grad_()", "images.data = images.data[:0]", "prompts.clear()",
    "prompts.append('x')", "prompts.sort()", "prompts[0] = 5", "del images",
    "images = images.half()", "images.share_memory_()", "images.set_()", "images.numpy()[:] = 7",
    "images.__class__ = torch.nn.Parameter", "prompts[:] = [None]",
)  # fmt: skip
RETURNS = (
    "bright", "bright", "bright", "bright.tolist()", "bright.numpy()", "list(bright)",
    "tuple(bright.tolist())", "bright.double()", "bright.half()", "bright.bfloat16()",
    "bright > 0.5", "bright.int()", "[int(x) for x in bright]", "[bool(x) for x in bright]",
    "[str(float(x)) for x in bright]", "bright * 1j", "bright * float('nan')", "bright / 0",
    "-bright / 0", "bright * 1e300", "bright.double() * 1e300", "bright.double() * 1e39",
    "bright * 0", "bright[:1]", "bright[:0]", "bright[:, None]", "bright[None]", "bright.mean()",
    "float(bright.mean())", "torch.cat([bright, bright])", "None", "'good'",
    "['good'] * len(images)", "[None] * len(images)", "{}", "{'a': bright}",
    "set(bright.tolist())", "(x for x in bright)", "map(float, bright)", "range(len(images))",
    "bytes(len(images))", "bytearray(len(images))", "images", "prompts", "score", "[]",
    "[10**400] * len(images)", "[2**70] * len(images)", "[1e308 * 10] * len(images)",
    "[[1.0]] * len(images)", "[1.0, 'x']", "bright.to_sparse()", "bright.to('meta')",
    "bright.requires_grad_()", "torch.nn.Parameter(bright)",
    "torch.quantize_per_tensor(bright, 0.1, 0, torch.quint8)",
    "__import__('numpy').array(bright.numpy(), dtype=object)",
    "__import__('pandas').Series(bright.numpy())",
    "__import__('numpy').ma.masked_array(bright.numpy())", "__import__('decimal').Decimal(1)",
    "[__import__('decimal').Decimal(1)] * len(images)",
    "[__import__('fractions').Fraction(1, 3)] * len(images)",
    "[torch.tensor([1.0])] * len(images)", "__import__('numpy').array(['1', '2'])",
    "__import__('numpy').float64(1)", "__import__('numpy').array([1, 2], dtype='datetime64[D]')",
    "__import__('numpy').array([1.0, 2.0], dtype='>f8')", "bright.flip(0).numpy()[::-1]",
    "(yield bright)", "ValueError('x')", "...", "NotImplemented", "bright.expand(2, -1)", "True",
    "images.sum()",
)  # fmt: skip
HEADS = (
    "def score(images, prompts):", "def score(images, prompts):", "def score(images, prompts):",
    "def score(images):", "def score(*args):", "def score(images, prompts, more):",
    "def score(images, prompts, more=1):", "def score(**kwargs):",
    "def score(images, *, prompts):", "async def score(images, prompts):",
    "def scores(images, prompts):", "def score(images, prompts) -> 'x':",
)  # fmt: skip
# A class around the function.
OWN = "class Own{}:\n{}    def score(self, images, prompts):\n        return run(images, prompts)\n"
OWN += "run, score = score, {}"
ENDS = (
    "", "", "", "", "", "score = functools.partial(score)", "score = functools.lru_cache(score)",
    "score = torch.no_grad()(score)", "score = 5", "score = None", "score = [score]", "del score",
    "score = property(score)", "score = staticmethod(score)", "def __getattr__(name): return score",
    OWN.format("", "", "Own"), OWN.format("", "", "Own()"), OWN.format("", "    name = 5\n", "Own"),
    OWN.format("", "    def __init__(self, needed): pass\n", "Own"),
    OWN.format("", "    score = 5\n", "Own"), "class Own: pass\nscore = Own",
    "class Own:\n    score = 5\nscore = Own", OWN.format("(torch.nn.Module)", "", "Own"),
    "class Own:\n    def score(images, prompts): pass\nscore = Own",
    OWN.format("(torch.nn.Module)", "    def __init__(self): pass\n", "Own"),
    "class Own:\n    def __getattr__(self, name): raise ValueError(name)\nscore = Own",
    # Fails from its second call on.
    "calls, run = [], score\ndef score(images, prompts):\n    calls.append(1)\n"
    "    return run(images, prompts) if len(calls) < 2 else None",
)  # fmt: skip
WHOLE = (
    "", "def score(images, prompts", "score = 1 +", "\x00",
    "\ufeffdef score(images, prompts): return images.mean((1, 2, 3))",
    "  def score(images, prompts): pass", "# coding: nonsense\ndef score(images, prompts): pass",
    "from {name} import score", "import {name}.more", "import this",
    "def score(images, prompts):\n\treturn 1\n        return 2", "print('unterminated", "é = 1",
    "from . import more", "from .. import more", "raise",
)  # fmt: skip


@st.composite
def cases(pick: st.DrawFn) -> Case:
    """Write a module with a reward, and name it in the catalog, mostly as it should be."""
    if pick(st.integers(0, 9)) == 0:
        code = pick(st.sampled_from(WHOLE))
    else:
        # One oddity in most of them, two in some: the second one would not be met otherwise.
        odd = pick(
            st.sampled_from(
                ["early", "late", "late", "late", "head", "returned", "returned", "end", "all"]
            )
        )
        early = pick(st.sampled_from(ACTIONS)) if odd in ("early", "all") else "pass"
        late = pick(st.sampled_from(ACTIONS + DEEDS)) if odd in ("late", "all") else "pass"
        head = pick(st.sampled_from(HEADS)) if odd == "head" else HEADS[0]
        returned = pick(st.sampled_from(RETURNS)) if odd in ("returned", "all") else RETURNS[0]
        end = pick(st.sampled_from(ENDS)) if odd == "end" else ""
        body = "\n".join(f"    {line}" for line in late.replace("\\n", "\n").split("\n"))
        code = (
            f"import functools\nimport torch\n{early.replace(chr(92) + 'n', chr(10))}\n{head}\n"
            f"    bright = images.mean((1, 2, 3))\n{body}\n    return {returned}\n{end}\n"
        )
    # Python imports a module of one name once.
    name = f"own_{hashlib.sha256(code.encode('utf-8', 'surrogatepass')).hexdigest()[:12]}"
    kinds = [f"{name}.score"] * 40 + [
        name,
        f"{name}.",
        f".{name}.score",
        f"{name}.Score",
        f"{name}.score.more",
        f"{name}:score",
        f"{name}.__doc__",
        f"src.{name}.score",
        "x." * 99 + "x",
    ]
    entry: dict[str, Any] = {
        "type": "dpok_pipeline.datasets.models.ScorerDataset",
        "kind": pick(st.sampled_from(kinds)),
    }
    if pick(st.integers(0, 9)) == 0:
        entry |= pick(
            st.sampled_from(
                [
                    {"path": "data"},
                    {"path": 5},
                    {"clip_path": "x"},
                    {"precision": "bfloat16"},
                    {"precision": "half"},
                    {"parts": {}},
                    {"revision": "x"},
                    {"weight": 2},
                ]
            )
        )
    if pick(st.integers(0, 9)) == 0:
        weight = pick(
            st.sampled_from(
                [1, 0, -1, 2.5, "1", "x", None, True, 1e308, float("nan"), float("inf")]
            )
        )
        kind = entry.pop("kind")
        entry |= {"kind": "weighted_sum", "parts": {"mine": {"kind": kind, "weight": weight}}}
    edits = [
        {"path": f"src/{name}.py", "text": code.replace("{name}", name)},
        {"path": "conf/smoke/catalog.yml", "text": json.dumps({"reward_model": entry})},
    ]
    return Case("rewards", edits)


def look(pipeline: Pipeline, catalog: CatalogProtocol) -> dict[str, Any]:
    """Show what the reward has left behind, and let it score once more."""
    import torch

    from dpok_pipeline.errors import InputError
    from dpok_pipeline.pipelines.models import ComputeConfig, open_scorer
    from dpok_pipeline.rewards.scorer import ask

    seen: dict[str, Any] = {"state": state()}
    images, prompts = torch.rand((2, 3, 32, 32)), ["a cat", "a dog"]
    before = images.clone(), list(prompts)
    compute = ComputeConfig.model_validate(catalog.load("params:compute"))
    try:
        scores = ask(open_scorer(catalog.load("reward_model"), compute), images, prompts)
        seen["shape"] = tuple(scores.shape)
    except InputError:
        pass  # It answers in one line at its second call, too.
    seen["same"] = torch.equal(images, before[0]) and prompts == before[1]
    seen["after"] = state()
    return seen


def state() -> dict[str, Any]:
    """Show what of Python and torch decides later numbers, or how a command ends."""
    import torch

    return {
        "dtype": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "gradients": torch.is_grad_enabled(),
        "inference": torch.is_inference_mode_enabled(),
        "autocast": torch.is_autocast_enabled("cpu"),
        "threads": torch.get_num_threads(),
        "deterministic": torch.are_deterministic_algorithms_enabled(),
        "precision": torch.get_float32_matmul_precision(),
        "anomaly": torch.is_anomaly_enabled(),
        "cudnn": (torch.backends.cudnn.benchmark, torch.backends.cuda.matmul.allow_tf32),
        "folder": os.getcwd(),
        "interrupt": str(signal.getsignal(signal.SIGINT)),
        "end": str(signal.getsignal(signal.SIGTERM)),
        "output": (
            sys.stdout is None or sys.stdout.closed,
            sys.stderr is None or sys.stderr.closed,
        ),
        "numpy": np.geterr(),
    }


def check(case: Case, outcome: Any, plain: dict[str, Any]) -> str | None:
    """Find everything as it was before the reward."""
    if not outcome.seen["same"]:
        return "the images or prompts that it was shown are changed"
    for moment in ("state", "after"):
        for name, value in outcome.seen[moment].items():
            if value != plain["state"][name]:
                return f"{name} was {plain['state'][name]!r} and is {value!r} ({moment})"
    return None


FAMILY = Family(lambda template: cases(), look, check)
