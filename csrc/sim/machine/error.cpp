#include "error.h"

#include <cstdarg>
#include <cstdio>

namespace ascend_sim {

std::string format(const char* pattern, ...) {
  char buffer[1024];
  va_list arguments;
  va_start(arguments, pattern);
  std::vsnprintf(buffer, sizeof buffer, pattern, arguments);
  va_end(arguments);
  return buffer;
}

const char* Error::what() const noexcept {
  try {
    text = kind + ": kernel " + kernel;
    if (!core.empty()) text += ", core " + core;
    if (!pipe.empty()) text += ", pipe " + pipe;
    if (!instruction.empty()) text += ", " + instruction;
    if (!operand.empty()) text += ", operand " + operand;
    text += ": " + detail;
    if (!file.empty()) text += " (" + file + ":" + std::to_string(line) + ")";
    if (!other.instruction.empty())
      text += "; the other access: core " + other.core + ", pipe " + other.pipe + ", " + other.instruction +
              " (" + other.file + ":" + std::to_string(other.line) + ")";
    for (const Party& party : waiting)
      text += "\n  " + party.core + " " + party.pipe + " waits for " + party.waits_for + " (" + party.file +
              ":" + std::to_string(party.line) + ")";
    return text.c_str();
  } catch (...) {
    return "simulator error";
  }
}

}  // namespace ascend_sim
