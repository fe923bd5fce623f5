#include "gm.h"

#include <sys/mman.h>

#include <iterator>
#include <new>

#include "error.h"

namespace ascend_sim {
namespace {
constexpr uint64_t kArena = uint64_t{1} << 38;
constexpr uint64_t kPage = 1 << 16;            // room for an overrun to fall into
constexpr uint64_t kWish = uint64_t{1} << 44;  // a fixed address makes L2 and bank behaviour repeatable
}  // namespace

GlobalMemory::GlobalMemory() {
  void* arena = mmap(reinterpret_cast<void*>(kWish), kArena, PROT_NONE,
                     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (arena == MAP_FAILED) throw std::bad_alloc();
  base_ = reinterpret_cast<uint64_t>(arena);
  next_ = base_ + kPage;
}

GlobalMemory::~GlobalMemory() {
  munmap(reinterpret_cast<void*>(base_), kArena);
}

uint64_t GlobalMemory::map(uint64_t bytes) {
  const uint64_t pages = (bytes + kPage - 1) / kPage * kPage, room = pages + kPage;
  uint64_t address = next_;
  auto hole = free_.begin();
  while (hole != free_.end() && hole->second < room) ++hole;
  if (hole != free_.end()) {
    address = hole->first;
    if (hole->second > room) free_[address + room] = hole->second - room;
    free_.erase(hole);
  } else if (next_ + room > base_ + kArena) {
    throw std::bad_alloc();
  } else {
    next_ += room;
  }
  used_[address] = room;
  if (pages && mprotect(reinterpret_cast<void*>(address), pages, PROT_READ | PROT_WRITE)) {
    unmap(address);
    throw std::bad_alloc();
  }
  return address;
}

void GlobalMemory::unmap(uint64_t address) {
  const auto mapped = used_.find(address);
  if (mapped == used_.end()) return;
  uint64_t room = mapped->second;
  used_.erase(mapped);
  // Mapping afresh both protects and drops the pages.
  mmap(reinterpret_cast<void*>(address), room, PROT_NONE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  regions_.erase(address);
  last_ = nullptr;
  auto after = free_.lower_bound(address);
  if (after != free_.end() && after->first == address + room) {
    room += after->second;
    after = free_.erase(after);
  }
  if (after != free_.begin() && std::prev(after)->first + std::prev(after)->second == address)
    std::prev(after)->second += room;
  else
    free_[address] = room;
}

void GlobalMemory::unmap_all() {
  mmap(reinterpret_cast<void*>(base_), next_ - base_, PROT_NONE,
       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0);
  next_ = base_ + kPage;
  used_.clear();
  free_.clear();
  forbid_all();
  last_ = nullptr;
}

void GlobalMemory::allow(uint64_t address, uint64_t bytes, const std::string& name) {
  last_ = nullptr;
  Region& region = regions_[address];
  if (region.bytes >= bytes) return;
  region.base = address;
  region.bytes = bytes;
  region.name = name;
  region.shadow = std::make_unique<GmShadow>(bytes);
}

Region* GlobalMemory::find(uint64_t address) {
  if (last_ && address >= last_->base && address - last_->base < last_->bytes) return last_;
  auto after = regions_.upper_bound(address);
  if (after == regions_.begin()) return nullptr;
  Region& region = std::prev(after)->second;
  if (address - region.base >= region.bytes) return nullptr;
  return last_ = &region;
}

std::string GlobalMemory::nearest(uint64_t address) const {
  const Region* best = nullptr;
  uint64_t distance = ~uint64_t{0};
  for (const auto& [base, region] : regions_) {
    const uint64_t away = address < base ? base - address : address - base;
    if (away < distance) distance = away, best = &region;
  }
  if (!best) return "no tensor is mapped";
  const bool before = address < best->base;
  return format("byte %s%llu of %s, which has %llu bytes", before ? "-" : "", (unsigned long long)distance,
                best->name.c_str(), (unsigned long long)best->bytes);
}

uint64_t L2::read(uint64_t begin, uint64_t end, bool bypass) {
  return touch(begin, end, false, bypass);
}

uint64_t L2::write(uint64_t begin, uint64_t end, bool bypass) {
  return touch(begin, end, true, bypass);
}

uint64_t L2::touch(uint64_t begin, uint64_t end, bool write, bool bypass) {
  uint64_t lines = 0;
  for (uint64_t at = begin / kChunk; at <= (end - 1) / kChunk; ++at) {
    const uint64_t first = std::max(begin, at * kChunk) % kChunk / kLine;
    const uint64_t last = (std::min(end, (at + 1) * kChunk) - 1) % kChunk / kLine;
    const uint64_t wanted = ~uint64_t{0} >> (63 - last) & ~uint64_t{0} << first;
    auto entry = chunks_.find(at);
    if (bypass) {
      const uint64_t known = entry == chunks_.end() ? 0
                             : write                ? entry->second.dirty
                                                    : entry->second.resident;
      lines += static_cast<uint64_t>(__builtin_popcountll(wanted & ~known));
      continue;
    }
    if (entry == chunks_.end()) {
      entry = chunks_.try_emplace(at).first;
      entry->second.age = ages_.insert(ages_.end(), at);
    } else {
      ages_.splice(ages_.end(), ages_, entry->second.age);
    }
    Chunk& chunk = entry->second;
    lines += static_cast<uint64_t>(__builtin_popcountll(wanted & ~(write ? chunk.dirty : chunk.resident)));
    used_ += static_cast<uint64_t>(__builtin_popcountll(wanted & ~chunk.resident)) * kLine;
    chunk.resident |= wanted;
    if (write) chunk.dirty |= wanted;
  }
  while (used_ > capacity_ && ages_.size() > 1) {
    auto oldest = chunks_.find(ages_.front());
    used_ -= static_cast<uint64_t>(__builtin_popcountll(oldest->second.resident)) * kLine;
    chunks_.erase(oldest);
    ages_.pop_front();
  }
  return lines * kLine;
}

void L2::clear() {
  chunks_.clear();
  ages_.clear();
  used_ = 0;
}

}  // namespace ascend_sim
