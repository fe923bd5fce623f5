#include "local_shadow.h"

namespace ascend_sim {

void LocalShadow::reset(uint32_t bytes, std::initializer_list<Pipe> readers) {
  const uint32_t granules = (bytes + kGranule - 1) / kGranule;
  write_.assign(granules, 0);
  written_.assign(granules, 0);
  split_.clear();
  std::fill(std::begin(slot_), std::end(slot_), -1);
  reader_count_ = 0;
  for (Pipe pipe : readers) {
    slot_[static_cast<int>(pipe)] = reader_count_;
    readers_[reader_count_] = pipe;
    read_[reader_count_++].assign(granules, 0);
  }
}

bool LocalShadow::ordered(Pipe pipe, uint32_t number, const Accessor& who) const {
  if (pipe == who.pipe && (who.in_order || number == who.number)) return true;
  return number <= (*who.known)[static_cast<int>(pipe)];
}

bool LocalShadow::write_ordered(uint32_t entry, uint64_t address, const Accessor& who,
                                Conflict& conflict) const {
  const Pipe pipe = static_cast<Pipe>(entry >> kPipeShift);
  const uint32_t number = entry & ((1u << kPipeShift) - 1);
  if (entry == 0 || ordered(pipe, number, who)) return true;
  conflict = {pipe, number, true, address};
  return false;
}

bool LocalShadow::reads_ordered(int slot, uint32_t number, uint64_t address, const Accessor& who,
                                Conflict& conflict) const {
  if (number == 0 || ordered(readers_[slot], number, who)) return true;
  conflict = {readers_[slot], number, false, address};
  return false;
}

LocalShadow::Bytes& LocalShadow::split(uint32_t granule) {
  std::unique_ptr<Bytes>& bytes = split_[granule];
  if (write_[granule] != kSplit) {
    if (!bytes) bytes = std::make_unique<Bytes>();
    std::fill_n(bytes->write, kGranule, write_[granule]);
    for (int slot = 0; slot < reader_count_; ++slot)
      std::fill_n(bytes->read[slot], kGranule, read_[slot][granule]);
    write_[granule] = kSplit;
  }
  return *bytes;
}

bool LocalShadow::read_bytes(uint32_t begin, uint32_t end, const Accessor& who, Conflict& conflict) {
  const uint32_t granule = begin / kGranule, base = granule * kGranule;
  const int slot = slot_of(who.pipe);
  if (write_[granule] != kSplit) {
    if (!write_ordered(write_[granule], begin, who, conflict)) return false;
    if (slot < 0 || read_[slot][granule] == who.number) return true;
  }
  Bytes& bytes = split(granule);
  for (uint32_t i = begin - base; i < end - base; ++i) {
    if (!write_ordered(bytes.write[i], base + i, who, conflict)) return false;
    if (slot >= 0) bytes.read[slot][i] = who.number;
  }
  return true;
}

bool LocalShadow::write_bytes(uint32_t begin, uint32_t end, const Accessor& who, Conflict& conflict) {
  const uint32_t granule = begin / kGranule, base = granule * kGranule;
  Bytes& bytes = split(granule);
  for (uint32_t i = begin - base; i < end - base; ++i) {
    if (!write_ordered(bytes.write[i], base + i, who, conflict)) return false;
    for (int slot = 0; slot < reader_count_; ++slot)
      if (!reads_ordered(slot, bytes.read[slot][i], base + i, who, conflict)) return false;
    bytes.write[i] = static_cast<uint32_t>(who.pipe) << kPipeShift | who.number;
  }
  return true;
}

namespace {

// Whether all entries equal the first one: the common case, which then needs one check only.
bool uniform(const uint32_t* entries, uint32_t count) {
  uint32_t difference = 0;
  for (uint32_t i = 1; i < count; ++i) difference |= entries[i] ^ entries[0];
  return difference == 0;
}

}  // namespace

bool LocalShadow::read_granules(uint32_t first, uint32_t last, const Accessor& who, Conflict& conflict) {
  const int slot = slot_of(who.pipe);
  if (uniform(&write_[first], last - first) && write_[first] != kSplit) {
    if (!write_ordered(write_[first], uint64_t{first} * kGranule, who, conflict)) return false;
  } else {
    uint32_t checked = 0;
    for (uint32_t granule = first; granule < last; ++granule) {
      const uint32_t entry = write_[granule];
      if (entry == kSplit) {
        if (!read_bytes(granule * kGranule, (granule + 1) * kGranule, who, conflict)) return false;
      } else if (entry != checked) {
        if (!write_ordered(entry, uint64_t{granule} * kGranule, who, conflict)) return false;
        checked = entry;
      }
    }
  }
  if (slot >= 0) std::fill(read_[slot].begin() + first, read_[slot].begin() + last, who.number);
  return true;
}

bool LocalShadow::write_granules(uint32_t first, uint32_t last, const Accessor& who, Conflict& conflict) {
  const uint32_t count = last - first;
  if (uniform(&write_[first], count) && write_[first] != kSplit) {
    if (!write_ordered(write_[first], uint64_t{first} * kGranule, who, conflict)) return false;
  } else {
    uint32_t checked = 0;
    for (uint32_t granule = first; granule < last; ++granule) {
      const uint32_t entry = write_[granule];
      if (entry == kSplit) {
        if (!write_bytes(granule * kGranule, (granule + 1) * kGranule, who, conflict)) return false;
        // Every byte has the same writer now, and all earlier readers are ordered before it.
        for (int slot = 0; slot < reader_count_; ++slot) read_[slot][granule] = 0;
      } else if (entry != checked) {
        if (!write_ordered(entry, uint64_t{granule} * kGranule, who, conflict)) return false;
        checked = entry;
      }
    }
  }
  for (int slot = 0; slot < reader_count_; ++slot) {
    const uint32_t* reads = &read_[slot][first];
    if (uniform(reads, count)) {
      if (!reads_ordered(slot, reads[0], uint64_t{first} * kGranule, who, conflict)) return false;
      continue;
    }
    uint32_t checked = 0;
    for (uint32_t i = 0; i < count; ++i) {
      if (reads[i] == checked) continue;
      if (!reads_ordered(slot, reads[i], uint64_t{first + i} * kGranule, who, conflict)) return false;
      checked = reads[i];
    }
  }
  std::fill(write_.begin() + first, write_.begin() + last,
            static_cast<uint32_t>(who.pipe) << kPipeShift | who.number);
  return true;
}

bool LocalShadow::read(uint32_t begin, uint32_t end, const Accessor& who, Conflict& conflict) {
  const uint32_t first = (begin + kGranule - 1) / kGranule, last = end / kGranule;
  if (first > last) return read_bytes(begin, end, who, conflict);  // inside one granule
  if (begin % kGranule && !read_bytes(begin, first * kGranule, who, conflict)) return false;
  if (first < last && !read_granules(first, last, who, conflict)) return false;
  return end % kGranule == 0 || read_bytes(last * kGranule, end, who, conflict);
}

bool LocalShadow::write(uint32_t begin, uint32_t end, const Accessor& who, Conflict& conflict) {
  const uint32_t first = (begin + kGranule - 1) / kGranule, last = end / kGranule;
  if (first > last) return write_bytes(begin, end, who, conflict);
  if (begin % kGranule && !write_bytes(begin, first * kGranule, who, conflict)) return false;
  if (first < last && !write_granules(first, last, who, conflict)) return false;
  return end % kGranule == 0 || write_bytes(last * kGranule, end, who, conflict);
}

namespace {
uint32_t bits_between(uint32_t from, uint32_t to) {  // of a granule, 0 <= from < to <= 32
  return (to == 32 ? ~0u : (1u << to) - 1) & ~((1u << from) - 1);
}
}  // namespace

void LocalShadow::mark_written(uint32_t begin, uint32_t end) {
  const uint32_t first = begin / kGranule, last = (end - 1) / kGranule;
  if (first == last) {
    written_[first] |= bits_between(begin % kGranule, end - first * kGranule);
    return;
  }
  written_[first] |= bits_between(begin % kGranule, kGranule);
  std::fill(written_.begin() + first + 1, written_.begin() + last, ~0u);
  written_[last] |= bits_between(0, end - last * kGranule);
}

void LocalShadow::mark_unwritten(uint32_t begin, uint32_t end) {
  for (uint32_t at = begin; at < end; ++at) written_[at / kGranule] &= ~(1u << at % kGranule);
}

uint32_t LocalShadow::first_unwritten(uint32_t begin, uint32_t end) const {
  const uint32_t first = begin / kGranule, last = (end - 1) / kGranule;
  uint32_t all = ~0u;
  for (uint32_t granule = first + 1; granule < last; ++granule) all &= written_[granule];
  for (uint32_t granule = first; granule <= last; ++granule) {
    if (all == ~0u && granule > first && granule < last) {
      granule = last - 1;  // the inside is fine: straight to the last one
      continue;
    }
    const uint32_t from = granule == first ? begin % kGranule : 0;
    const uint32_t to = granule == last ? end - last * kGranule : kGranule;
    const uint32_t missing = bits_between(from, to) & ~written_[granule];
    if (missing) return granule * kGranule + static_cast<uint32_t>(__builtin_ctz(missing));
  }
  return end;
}

}  // namespace ascend_sim
