#include "fault.h"

#include <sstream>
#include <stdexcept>

#include "core.h"

namespace ascend_sim {

const char* name_of(FaultKind kind) {
  static const char* const names[] = {"drop",   "event", "delay", "pipe",   "shift",     "shrink",
                                      "repeat", "mask",  "count", "stride", "skip_queue"};
  return names[static_cast<int>(kind)];
}

FaultKind fault_kind_named(const std::string& name) {
  for (int i = 0; i <= static_cast<int>(FaultKind::SkipQueue); ++i)
    if (name == name_of(static_cast<FaultKind>(i))) return static_cast<FaultKind>(i);
  throw std::invalid_argument("unknown fault kind " + name);
}

Pipe pipe_named(const std::string& name) {
  for (int i = 0; i < kPipes; ++i)
    if (name == name_of(static_cast<Pipe>(i))) return static_cast<Pipe>(i);
  throw std::invalid_argument("unknown pipe " + name);
}

Fault parse_fault(const std::string& text) {
  Fault fault;
  std::stringstream fields(text);
  std::string place;
  std::getline(fields, place, ',');
  const size_t at = place.find('@'), colon = place.rfind(':');
  if (at == std::string::npos || colon == std::string::npos || colon < at)
    throw std::invalid_argument("fault: expected kind@file:line, got " + place);
  fault.kind = fault_kind_named(place.substr(0, at));
  fault.file = place.substr(at + 1, colon - at - 1);
  fault.line = std::stoi(place.substr(colon + 1));
  for (std::string field; std::getline(fields, field, ',');) {
    const size_t equals = field.find('=');
    const std::string name = field.substr(0, equals);
    const std::string value = equals == std::string::npos ? "" : field.substr(equals + 1);
    if (name == "api")
      fault.api = value;
    else if (name == "nth")
      fault.nth = std::stoll(value);
    else if (name == "core")
      fault.core = value;
    else if (name == "operand")
      fault.operand = value;
    else if (name == "amount" && fault.kind == FaultKind::Pipe)
      fault.pipe = pipe_named(value);
    else if (name == "amount")
      fault.amount = std::stoll(value);
    else
      throw std::invalid_argument("fault: unknown field " + field);
  }
  return fault;
}

namespace {

[[noreturn]] void refuse(const Fault& fault) {
  throw std::invalid_argument(std::string("fault kind ") + name_of(fault.kind) +
                              (fault.operand.empty() ? "" : " on operand " + fault.operand) +
                              " does not apply to " + fault.api + " at " + fault.file + ":" +
                              std::to_string(fault.line));
}

void shift(const Fault& fault, std::initializer_list<std::pair<const char*, Operand*>> operands) {
  for (auto [name, operand] : operands)
    if (fault.operand.empty() ? operand == operands.begin()->second : fault.operand == name) {
      operand->address += static_cast<uint64_t>(fault.amount);
      return;
    }
  refuse(fault);
}

template <class Number>
void add(Number& number, const Fault& fault) {
  number = static_cast<Number>(number + static_cast<Number>(fault.amount));
}

}  // namespace

bool apply(const Fault* fault, VectorOp& op) {
  if (!fault) return true;
  switch (fault->kind) {
    case FaultKind::Drop:
      return false;
    case FaultKind::Shift:
      shift(*fault, {{"dst", &op.dst}, {"src0", &op.src0}, {"src1", &op.src1}});
      break;
    case FaultKind::Repeat:
      add(op.repeat, *fault);
      break;
    case FaultKind::Mask:
    case FaultKind::Count:
      add(op.mask.lanes, *fault);
      break;
    case FaultKind::Stride:
      if (fault->operand == "src0")
        add(op.src0_stride.repeat, *fault);
      else if (fault->operand == "src1")
        add(op.src1_stride.repeat, *fault);
      else
        add(op.dst_stride.repeat, *fault);
      break;
    default:
      refuse(*fault);
  }
  return true;
}

bool apply(const Fault* fault, CopyOp& op) {
  if (!fault) return true;
  switch (fault->kind) {
    case FaultKind::Drop:
      return false;
    case FaultKind::Shift:
      shift(*fault, {{"dst", &op.dst}, {"src0", &op.src}});
      break;
    case FaultKind::Repeat:
      add(op.kind == CopyKind::Nd2Nz ? op.matrices : op.count, *fault);
      break;
    case FaultKind::Count:
    case FaultKind::Mask:
      add(op.kind == CopyKind::Nd2Nz ? op.n : op.length, *fault);
      break;
    case FaultKind::Stride:
      if (op.kind == CopyKind::Nd2Nz)
        add(fault->operand == "src0" ? op.src_d : op.dst_c0_stride, *fault);
      else
        add(fault->operand == "src0" ? op.src_gap : op.dst_gap, *fault);
      break;
    default:
      refuse(*fault);
  }
  return true;
}

bool apply(const Fault* fault, LoadOp& op) {
  if (!fault) return true;
  switch (fault->kind) {
    case FaultKind::Drop:
      return false;
    case FaultKind::Shift:
      shift(*fault, {{"dst", &op.dst}, {"src0", &op.src}});
      break;
    case FaultKind::Repeat:
    case FaultKind::Count:
      add(op.repeat, *fault);
      break;
    case FaultKind::Stride:
      add(fault->operand == "dst" ? op.dst_gap : op.src_stride, *fault);
      break;
    default:
      refuse(*fault);
  }
  return true;
}

bool apply(const Fault* fault, Load3DOp& op) {
  if (!fault) return true;
  switch (fault->kind) {
    case FaultKind::Drop:
      return false;
    case FaultKind::Shift:
      shift(*fault, {{"dst", &op.dst}, {"src0", &op.src}});
      break;
    case FaultKind::Count:
      add(op.m_extent, *fault);
      break;
    default:
      refuse(*fault);
  }
  return true;
}

bool apply(const Fault* fault, FillOp& op) {
  if (!fault) return true;
  switch (fault->kind) {
    case FaultKind::Drop:
      return false;
    case FaultKind::Shift:
      shift(*fault, {{"dst", &op.dst}});
      break;
    case FaultKind::Repeat:
      add(op.repeat, *fault);
      break;
    case FaultKind::Count:
      add(op.blocks, *fault);
      break;
    default:
      refuse(*fault);
  }
  return true;
}

bool apply(const Fault* fault, MmadOp& op) {
  if (!fault) return true;
  switch (fault->kind) {
    case FaultKind::Drop:
      return false;
    case FaultKind::Shift:
      shift(*fault, {{"dst", &op.dst}, {"src0", &op.a}, {"src1", &op.b}, {"bias", &op.bias}});
      break;
    case FaultKind::Count:
    case FaultKind::Repeat:
      add(fault->operand == "n" ? op.n : fault->operand == "k" ? op.k : op.m, *fault);
      break;
    default:
      refuse(*fault);
  }
  return true;
}

bool apply(const Fault* fault, FixpipeOp& op) {
  if (!fault) return true;
  switch (fault->kind) {
    case FaultKind::Drop:
      return false;
    case FaultKind::Shift:
      shift(*fault, {{"dst", &op.dst}, {"src0", &op.src}});
      break;
    case FaultKind::Repeat:
      add(op.matrices, *fault);
      break;
    case FaultKind::Count:
      add(fault->operand == "m" ? op.m : op.n, *fault);
      break;
    case FaultKind::Stride:
      add(fault->operand == "src0" ? op.src_stride : op.dst_stride, *fault);
      break;
    default:
      refuse(*fault);
  }
  return true;
}

}  // namespace ascend_sim
