#include "gm_shadow.h"

namespace ascend_sim {

GmShadow::GmShadow(uint64_t bytes) : chunks_((bytes / kGranule + kChunk) / kChunk) {}

GmShadow::Cell* GmShadow::chunk(uint64_t granule) {
  std::unique_ptr<Cell[]>& cells = chunks_[granule / kChunk];
  if (!cells) cells = std::make_unique<Cell[]>(kChunk);
  return &cells[granule % kChunk];
}

bool GmShadow::ordered(Epoch epoch, const GmAccessor& who, bool writes) const {
  const int pipe = static_cast<int>(epoch.pipe());
  if (epoch.core() == who.core) {
    if (epoch.number() == who.number) return true;
    if (epoch.pipe() == who.pipe && (!writes || who.writes_in_order)) return true;
    return epoch.number() <= who.known->own[pipe];
  }
  const ForeignClock& foreign = who.known->foreign;
  return foreign && epoch.number() <= (*foreign)[epoch.core()][pipe];
}

// Sets are shared between granules with the same history: a tile that all cores read costs one set per
// reader, not one per granule.
uint32_t GmShadow::with(uint32_t set, Epoch epoch, const GmAccessor& who) {
  if (extending_.bits != epoch.bits) {
    extended_.clear();
    extending_ = epoch;
  }
  auto [entry, inserted] = extended_.try_emplace(set, 0);
  if (!inserted) return entry->second;
  Set result;
  for (Epoch other : sets_[set]) {
    if (other.bits == epoch.bits) return entry->second = set;
    // What happened before this access need not be kept: whoever is ordered after this one is ordered after
    // that one.
    if (other.atomic() != epoch.atomic() || !ordered(other, who, false)) result.push_back(other);
  }
  result.push_back(epoch);
  sets_.push_back(std::move(result));
  return entry->second = static_cast<uint32_t>(sets_.size() - 1);
}

bool GmShadow::touch(GmAccess kind, Cell& cell, uint64_t offset, const GmAccessor& who, uint64_t moment,
                     GmConflict& conflict) {
  const bool writes = kind != GmAccess::Read;
  const Epoch epoch = Epoch::of(who.core, who.pipe, who.number, kind == GmAccess::Atomic);
  if (cell.write && !ordered(cell.write, who, writes)) {
    conflict = {cell.write, true, offset};
    return false;
  }
  for (Epoch other : sets_[cell.since]) {
    // Reads do not race with reads, nor atomics with atomics.
    if (kind == GmAccess::Read ? !other.atomic() : (kind == GmAccess::Atomic && other.atomic())) continue;
    if (!ordered(other, who, writes && other.atomic())) {
      conflict = {other, other.atomic(), offset};
      return false;
    }
  }
  if (kind == GmAccess::Write) {
    cell.write = epoch;
    cell.since = 0;
  } else {
    cell.since = with(cell.since, epoch, who);
  }
  if (writes) cell.moment = moment;
  return true;
}

bool GmShadow::touch_bytes(GmAccess kind, uint64_t begin, uint64_t end, const GmAccessor& who,
                           uint64_t moment, GmConflict& conflict) {
  Cell& cell = *chunk(begin / kGranule);
  if (!cell.split) {
    splits_.push_back(std::make_unique<Cell[]>(kGranule));
    std::fill_n(splits_.back().get(), kGranule, cell);
    cell.split = static_cast<uint32_t>(splits_.size());
  }
  Cell* bytes = splits_[cell.split - 1].get();
  for (uint64_t at = begin; at < end; ++at)
    if (!touch(kind, bytes[at % kGranule], at, who, moment, conflict)) return false;
  if (kind != GmAccess::Read) cell.moment = moment;
  return true;
}

bool GmShadow::access(GmAccess kind, uint64_t begin, uint64_t end, const GmAccessor& who, uint64_t moment,
                      GmConflict& conflict) {
  const uint64_t first = (begin + kGranule - 1) / kGranule, last = end / kGranule;
  if (first > last) return touch_bytes(kind, begin, end, who, moment, conflict);
  if (begin % kGranule && !touch_bytes(kind, begin, first * kGranule, who, moment, conflict)) return false;
  Cell before, after;  // a run of granules with the same history is worked out once
  bool have = false;
  for (uint64_t granule = first; granule < last;) {
    const uint64_t stop = std::min(last, (granule / kChunk + 1) * kChunk);
    for (Cell* cell = chunk(granule); granule < stop; ++granule, ++cell) {
      if (cell->split) {
        if (!touch_bytes(kind, granule * kGranule, (granule + 1) * kGranule, who, moment, conflict))
          return false;
        if (kind == GmAccess::Write) {  // one writer of all bytes again
          *cell = splits_[cell->split - 1][0];
          cell->split = 0;
        }
        continue;
      }
      if (have && cell->write.bits == before.write.bits && cell->since == before.since) {
        cell->write = after.write;
        cell->since = after.since;
        if (kind != GmAccess::Read) cell->moment = moment;
        continue;
      }
      before = *cell;
      if (!touch(kind, *cell, granule * kGranule, who, moment, conflict)) return false;
      after = *cell;
      have = true;
    }
  }
  return end % kGranule == 0 || touch_bytes(kind, last * kGranule, end, who, moment, conflict);
}

bool GmShadow::written_since(uint64_t begin, uint64_t end, uint64_t moment, int core, Epoch& writer) const {
  const auto foreign = [&](const Cell& cell) {
    if (cell.moment <= moment) return false;
    writer = cell.write;
    for (Epoch other : sets_[cell.since])
      if (other.atomic()) writer = other;
    return !(writer.core() == core && writer.pipe() == Pipe::S);
  };
  for (uint64_t granule = begin / kGranule; granule <= (end - 1) / kGranule; ++granule) {
    const std::unique_ptr<Cell[]>& cells = chunks_[granule / kChunk];
    if (!cells) continue;
    const Cell& cell = cells[granule % kChunk];
    if (!cell.split) {
      if (foreign(cell)) return true;
      continue;
    }
    for (uint64_t at = std::max(begin, granule * kGranule); at < std::min(end, (granule + 1) * kGranule);
         ++at)
      if (foreign(splits_[cell.split - 1][at % kGranule])) return true;
  }
  return false;
}

}  // namespace ascend_sim
