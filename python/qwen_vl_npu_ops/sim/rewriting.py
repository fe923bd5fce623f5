"""From ``<<<...>>>`` to what the host's compiler takes.

The package's build runs this file by itself, before there is a package: it imports nothing of it.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from pathlib import Path


class CompileError(RuntimeError):
    """The host compiler refused kernel source; the text is what it said."""


_LAUNCH = re.compile(r"([A-Za-z_][\w:]*)\s*((?:<[^<>;{}()]*>)?)\s*<<<(.*?)>>>\s*\(", re.DOTALL)
_QUALIFIED = re.compile(
    r"((?:(?:__vector__|__cube__|__mix__\s*\(\s*\d\s*,\s*\d\s*\)|__global__|__aicore__|extern\s+\"C\"|inline)\s+)+)void\s+(\w+)\s*\("
)
_LAUNCHER = re.compile(r"extern\s+\"C\"\s+void\s+(launch_\w+)\s*\(")
# Each library finds its own kernels' task types: those of qualifiers, and KERNEL_TASK_TYPE_DEFAULT's section.
_FOOTER = """
#line 1 "{name}.registration"
extern "C" {{
extern ::ascend_sim::TaskNote __start_ascend_sim_task_types[] __attribute__((weak, visibility("hidden")));
extern ::ascend_sim::TaskNote __stop_ascend_sim_task_types[] __attribute__((weak, visibility("hidden")));
}}
static int sim_task_type(const char *kernel) {{
  static const ::ascend_sim::TaskNote qualified[] = {{{notes}}};
  for (int i = 0; i < {count}; ++i)
    if (std::strcmp(qualified[i].kernel, kernel) == 0) return qualified[i].type;
  return ::ascend_sim::find_task_type(kernel, __start_ascend_sim_task_types, __stop_ascend_sim_task_types);
}}"""
_REGISTRATION = (
    "static const ::ascend_sim::Registration<&{function}> "
    'sim_entry_{name}("{name}", {launcher}, sim_task_type("{name}"));'
)
_MIX_TYPES = {"1,2": 5, "1,1": 4, "1,0": 3, "0,1": 2}


def _blanked(text: str, strings: bool) -> str:
    """The text with comments, and with `strings` literals too, made blank; newlines kept."""

    def blank(match: re.Match[str]) -> str:
        return match[0] if match[0][0] in "\"'" and not strings else re.sub(r"[^\n]", " ", match[0])

    literals = r"\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])+'"
    return re.sub(r"//[^\n]*|/\*.*?\*/|" + literals, blank, text, flags=re.DOTALL)


def _matching(text: str, opening: int) -> int:
    depth = 0
    for at in range(opening, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return at
    raise CompileError("a kernel launch has no closing parenthesis")


def _namespaces(plain: str, position: int) -> str:
    """The named namespaces around a position, as a prefix: "a::b::"."""
    stack: list[str] = []
    for match in re.finditer(r"namespace\s+([\w:]*)\s*\{|([{}])", plain[:position]):
        if match[2] == "}":
            del stack[-1:]
        else:
            stack.append(f"{match[1]}::" if match[1] else "")
    return "".join(stack)


def rewrite(text: str, name: str) -> str:
    """Turn ``kernel<<<blocks, l2, stream>>>(args)`` into a call of the simulator, and register what can be called.

    Nothing else changes, and lines keep their numbers.
    """
    plain = _blanked(text, strings=True)
    pieces, at = [], 0
    for match in _LAUNCH.finditer(plain):
        close = _matching(plain, match.end() - 1)
        configuration = match[3].split(",")
        if len(configuration) != 3:
            raise CompileError(f"{name}: expected <<<blocks, l2, stream>>>, got <<<{match[3]}>>>")
        newlines = "\n" * plain.count("\n", match.end(2), match.end())
        blocks, _, stream = (part.replace("\n", " ").strip() for part in configuration)
        arguments = text[match.end() : close]
        call = f"{match[1]}{match[2]}({arguments})"
        short = match[1].rsplit("::", 1)[-1]
        pieces += [
            text[at : match.start()],
            f'::ascend_sim::launch({{"{short}", sim_task_type("{short}"), static_cast<int64_t>({blocks}), '
            f"[=]() mutable {{ {call}; }}}}, {stream})",
            newlines,
        ]
        at = close + 1
    body = "".join(pieces) + text[at:]
    notes, kernels = [], []
    plain = _blanked(text, strings=False)
    plain = re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: re.sub(r"[^\n]", " ", m[0]), plain, flags=re.MULTILINE)
    for match in _QUALIFIED.finditer(plain):
        qualifiers = re.sub(r"\s+", "", match[1])
        if "__global__" not in qualifiers:
            continue
        is_template = re.search(r"template\s*<[^;{}]*>\s*$", plain[: match.start()]) is not None
        if not is_template:
            kernels.append((match[2], _namespaces(plain, match.start()) + match[2]))
        mix = re.search(r"__mix__\((\d,\d)\)", qualifiers)
        if mix or "__vector__" in qualifiers or "__cube__" in qualifiers:
            kind = _MIX_TYPES[mix[1]] if mix else 1 if "__cube__" in qualifiers else 0
            notes.append(f'{{"{match[2]}", {kind}}}')
    footer = [_FOOTER.format(name=name, notes=", ".join([*notes, "{nullptr, 0}"]), count=len(notes))]
    for short, function in dict.fromkeys(kernels):
        footer.append(_REGISTRATION.format(name=short, function=function, launcher="false"))
    for launcher in dict.fromkeys(_LAUNCHER.findall(plain)):
        footer.append(_REGISTRATION.format(name=launcher, function=launcher, launcher="true"))
    header = (
        f'#include "sim/launch.h"\n[[maybe_unused]] static int sim_task_type(const char *kernel);\n#line 1 "{name}"\n'
    )
    return header + body + "\n".join(footer) + "\n"


def main(arguments: Sequence[str]) -> int:
    """``in.cpp out.cpp``; returns the exit status."""
    if len(arguments) != 2:
        print("usage: rewrite in.cpp out.cpp", file=sys.stderr)
        return 2
    source = Path(arguments[0])
    Path(arguments[1]).write_text(rewrite(source.read_text(), str(source)))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
