// How kernels get onto the simulated chip. `kernel<<<blocks, nullptr, stream>>>(arguments)` becomes a call of
// launch(); the functions of a library that Python may call register themselves with Entry. A runtime that
// has streams (csrc/virtual_npu) takes launches over with set_runtime() and runs them when their turn comes.
#pragma once

#include <cstdint>
#include <cstring>
#include <functional>
#include <tuple>
#include <type_traits>
#include <utility>

namespace ascend_sim {

// A kernel's task type: a KernelMetaType, declared by KERNEL_TASK_TYPE_DEFAULT or a qualifier. Each library
// keeps its own list; undeclared kernels are AIV_ONLY.
struct TaskNote {
  const char* kernel;
  int type;
};

inline int find_task_type(const char* kernel, const TaskNote* begin, const TaskNote* end) {
  for (const TaskNote* note = begin; note != end; ++note)
    if (std::strcmp(note->kernel, kernel) == 0) return note->type;
  return 0;
}

// A kernel on its way to the chip: `body` runs on every core that its blocks occupy, and owns its arguments.
struct Launch {
  const char* kernel;
  int task_type;
  int64_t blocks;
  std::function<void()> body;
};

// At once on the machine that is active, if one is and `stream` is null; else the runtime's business. Throws
// std::runtime_error when there is neither.
void launch(Launch launch, void* stream);

using Runtime = void (*)(Launch launch, void* stream);
void set_runtime(Runtime runtime);

// An argument of an entry, as a caller without types must pass it: its kind and size.
struct Parameter {
  char kind;  // p pointer, i signed, u unsigned, f floating point, s struct
  uint32_t size;
};

struct Entry {
  const char* name;
  bool launcher;  // takes (blocks, stream, arguments...) and launches by itself
  int task_type;
  const Parameter* parameters;
  size_t count;
  void (*call)(void* const* arguments);
};

// The library being loaded hands its entries over here.
void register_entry(const Entry& entry);

namespace detail {

template <class T>
constexpr Parameter parameter() {
  using Plain = std::remove_cv_t<std::remove_reference_t<T>>;
  return {std::is_pointer_v<Plain>                             ? 'p'
          : std::is_floating_point_v<Plain>                    ? 'f'
          : std::is_integral_v<Plain> || std::is_enum_v<Plain> ? (std::is_signed_v<Plain> ? 'i' : 'u')
                                                               : 's',
          sizeof(Plain)};
}

template <auto kFunction>
struct Unpack;

template <class... A, void (*kFunction)(A...)>
struct Unpack<kFunction> {
  static constexpr size_t count = sizeof...(A);
  static constexpr Parameter parameters[sizeof...(A) + 1] = {parameter<A>()..., {0, 0}};

  static void call(void* const* arguments) { call(arguments, std::index_sequence_for<A...>()); }
  template <size_t... I>
  static void call([[maybe_unused]] void* const* arguments, std::index_sequence<I...>) {
    kFunction(*static_cast<std::remove_cv_t<std::remove_reference_t<A>>*>(arguments[I])...);
  }
};

}  // namespace detail

template <auto kFunction>
struct Registration {
  Registration(const char* name, bool launcher, int task_type) {
    using Types = detail::Unpack<kFunction>;
    register_entry({name, launcher, task_type, Types::parameters, Types::count, &Types::call});
  }
};

}  // namespace ascend_sim

// The task type of the kernel it stands in; read when the library registers, before any kernel runs.
#define KERNEL_TASK_TYPE_DEFAULT(value)                                                              \
  static ::ascend_sim::TaskNote sim_task_note                                                        \
      __attribute__((used, section("ascend_sim_task_types"))) = {__func__, static_cast<int>(value)}; \
  (void)sim_task_note
