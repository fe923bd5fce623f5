// What a kernel did wrong, and where. Carried out of the simulated cores as a C++ exception.
#pragma once

#include <exception>
#include <string>
#include <vector>

namespace ascend_sim {

struct Party {  // one side of a race, or one core of a deadlock
  std::string core, pipe, instruction, file, waits_for;
  int line = 0;
};

struct Error : std::exception {
  std::string kind, kernel, core, pipe, instruction, operand, file, detail;
  int block = -1;
  int line = 0;
  Party other;
  std::vector<Party> waiting;

  mutable std::string text;
  const char* what() const noexcept override;
};

// printf into a string, for the detail of an error.
std::string format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));

}  // namespace ascend_sim
