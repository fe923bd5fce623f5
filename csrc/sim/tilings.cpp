// Python's access to the operators' tilings: what they decide for a shape and a chip. Adding an operator's is
// one function here, and a line at the end.
#include <pybind11/functional.h>
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "chip/chip.h"
#include "ops/patch_embed/tiling_host.h"
#include "ops/rotary_qkv/tiling_host.h"
#include "ops/rotary_window_attention/tiling_host.h"
#include "ops/window_attention/tiling_host.h"

namespace py = pybind11;

namespace qwen_vl_npu_ops {
namespace {

// A tiling function with the names of its shape's and its tiling's fields.
template <class Shape, class Tiling>
class Binding {
 public:
  using Function = Launch<Tiling> (*)(const Shape&, const Chip&);
  Binding(std::string op, Function function) : op_(std::move(op)), function_(function) {}

  template <class Field>
  Binding& shape(const char* name, Field Shape::* field) {
    setters_.emplace_back(name, [field](Shape& shape, const py::handle& value) {
      if constexpr (std::is_enum_v<Field>)
        shape.*field = static_cast<Field>(value.cast<std::underlying_type_t<Field>>());
      else
        shape.*field = value.cast<Field>();
    });
    return *this;
  }

  template <class Field>
  Binding& tiling(const char* name, Field Tiling::* field) {
    getters_.emplace_back(name, [field](const Tiling& tiling) { return py::cast(tiling.*field); });
    return *this;
  }

  template <class Part, class Field>
  Binding& part(const char* name, Part Tiling::* part, Field Part::* field) {
    getters_.emplace_back(name,
                          [part, field](const Tiling& tiling) { return py::cast(tiling.*part.*field); });
    return *this;
  }

  // (blocks, workspace bytes, the tiling's bytes, its fields).
  py::tuple operator()(const std::string& chip_name, const py::kwargs& values) const {
    const Chip* chip = find_chip(chip_name.c_str());
    if (!chip) throw std::invalid_argument("unknown chip " + chip_name);
    Shape shape{};
    for (const auto& [name, set] : setters_) {
      if (!values.contains(name)) throw py::type_error(op_ + ": expected " + name);
      set(shape, values[name]);
    }
    if (values.size() != setters_.size()) throw py::type_error(op_ + ": a name that its shape does not have");
    const Launch<Tiling> launch = function_(shape, *chip);
    py::dict fields;
    for (const auto& [name, get] : getters_) fields[name] = get(launch.tiling);
    return py::make_tuple(launch.blocks, launch.workspace_bytes,
                          py::bytes(reinterpret_cast<const char*>(&launch.tiling), sizeof(Tiling)), fields);
  }

 private:
  std::string op_;
  Function function_;
  std::vector<std::pair<const char*, std::function<void(Shape&, const py::handle&)>>> setters_;
  std::vector<std::pair<const char*, std::function<py::object(const Tiling&)>>> getters_;
};

template <class Shape, class Tiling>
void add(py::module_& module, const char* op, const Binding<Shape, Tiling>& binding) {
  module.def(op,
             [binding](const std::string& chip, const py::kwargs& shape) { return binding(chip, shape); });
}

#define SHAPE(name) .shape(#name, &Shape::name)
#define TILING(name) .tiling(#name, &Tiling::name)
#define ATTENTION(name) .part("attention." #name, &Tiling::attention, &WindowAttentionTiling::name)
#define ROTARY(name) .part("rotary." #name, &Tiling::rotary, &RotaryQkvTiling::name)

void add_patch_embed(py::module_& module) {
  using Shape = PatchEmbedShape;
  using Tiling = PatchEmbedTiling;
  // clang-format off
  add(module, "patch_embed", Binding<Shape, Tiling>("patch_embed", &tile_patch_embed)
      SHAPE(pixel_rows) SHAPE(pixel_stride) SHAPE(rows) SHAPE(k) SHAPE(hidden) SHAPE(pixel_type) SHAPE(type)
      SHAPE(index_bytes) SHAPE(has_bias)
      TILING(biasOffset) TILING(groups) TILING(segments) TILING(rowBlocks) TILING(columnBlocks) TILING(kBlocks)
      TILING(chunks) TILING(sumChunks) TILING(tileBlocks) TILING(resident) TILING(everyOther) TILING(weightBytes) TILING(rowBytes)
      TILING(biasBytes) TILING(rounds) TILING(parts) TILING(stripBlocks) TILING(inBytes) TILING(outBytes)
      TILING(biasColumns));
  // clang-format on
}

void add_rotary_qkv(py::module_& module) {
  using Shape = RotaryQkvShape;
  using Tiling = RotaryQkvTiling;
  // clang-format off
  add(module, "rotary_qkv", Binding<Shape, Tiling>("rotary_qkv", &tile_rotary_qkv)
      SHAPE(tokens) SHAPE(heads) SHAPE(dim) SHAPE(in_dim) SHAPE(out_dim) SHAPE(qkv_stride) SHAPE(cos_stride)
      SHAPE(sin_stride) SHAPE(table_step) SHAPE(type) SHAPE(table_type) SHAPE(interleaved)
      TILING(tileTokens) TILING(tileHeads) TILING(denseIn) TILING(denseOut) TILING(inPitch) TILING(outPitch)
      TILING(rowPitch) TILING(tablePitch) TILING(gathered) TILING(swapped) TILING(gatherSelf) TILING(lanes) TILING(lanePitch)
      TILING(anglePitch) TILING(slots) TILING(passTokens) TILING(inPlace) TILING(inBytes) TILING(tableBytes) TILING(outBytes) TILING(wideBytes)
      TILING(selfBytes) TILING(partnerBytes) TILING(sumBytes) TILING(castBytes) TILING(angleBytes)
      TILING(indexBytes));
  // clang-format on
}

void add_window_attention(py::module_& module) {
  using Shape = WindowAttentionShape;
  using Tiling = WindowAttentionTiling;
  // clang-format off
  add(module, "window_attention", Binding<Shape, Tiling>("window_attention", &tile_window_attention)
      SHAPE(tokens) SHAPE(heads) SHAPE(kv_heads) SHAPE(segments) SHAPE(dim) SHAPE(value_dim)
      SHAPE(q_token_stride) SHAPE(q_head_stride) SHAPE(k_token_stride) SHAPE(k_head_stride)
      SHAPE(v_token_stride) SHAPE(v_head_stride) SHAPE(out_token_stride) SHAPE(out_head_stride) SHAPE(type)
      SHAPE(wide_lengths) SHAPE(scale)
      TILING(tile) TILING(keys) TILING(subs) TILING(slotRows) TILING(maxRows) TILING(maxScores)
      TILING(qkSlotBytes) TILING(vSlotBytes) TILING(pSlotBytes) TILING(scoreBytes) TILING(outBytes)
      TILING(burst) TILING(groupBytes) TILING(groupWidth) TILING(pieces) TILING(pieceWidth));
  // clang-format on
}

void add_rotary_window_attention(py::module_& module) {
  using Shape = RotaryWindowAttentionShape;
  using Tiling = RotaryWindowAttentionTiling;
  // clang-format off
  add(module, "rotary_window_attention", Binding<Shape, Tiling>("rotary_window_attention", &tile_rotary_window_attention)
      SHAPE(tokens) SHAPE(heads) SHAPE(segments) SHAPE(dim) SHAPE(in_dim) SHAPE(out_dim) SHAPE(qkv_stride)
      SHAPE(cos_stride) SHAPE(sin_stride) SHAPE(out_stride) SHAPE(table_step) SHAPE(type) SHAPE(table_type)
      SHAPE(interleaved) SHAPE(wide_lengths) SHAPE(scale)
      TILING(fused) TILING(sharedBytes) TILING(rotatedBytes) TILING(ringBytes)
      ATTENTION(tile) ATTENTION(keys) ATTENTION(slotRows) ATTENTION(maxRows) ATTENTION(maxScores)
      ATTENTION(qkSlotBytes) ATTENTION(vSlotBytes) ATTENTION(pSlotBytes) ATTENTION(scoreBytes) ATTENTION(outBytes)
      ATTENTION(pieces) ATTENTION(pieceWidth)
      ROTARY(tileTokens) ROTARY(tileHeads) ROTARY(slots) ROTARY(inBytes) ROTARY(tableBytes) ROTARY(outBytes)
      ROTARY(wideBytes) ROTARY(selfBytes) ROTARY(partnerBytes) ROTARY(sumBytes) ROTARY(castBytes) ROTARY(angleBytes)
      ROTARY(indexBytes));
  // clang-format on
}

}  // namespace
}  // namespace qwen_vl_npu_ops

PYBIND11_MODULE(_sim_tilings, module) {
  using namespace qwen_vl_npu_ops;
  module.doc() = "The operators' tilings.";
  add_patch_embed(module);
  add_rotary_qkv(module);
  add_window_attention(module);
  add_rotary_window_attention(module);
}
