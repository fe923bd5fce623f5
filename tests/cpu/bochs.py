"""Runs a static x86-64 program for Linux on Bochs' processor, which has AVX-512: python bochs.py PROGRAM [LIBRARY].

There is no operating system below the program: it lies in memory at its own addresses, and the few system calls that C
and C++ need to start, to allocate and to print are answered here. LIBRARY is loaded before Bochs, see
sapphire_rapids.cpp.
"""

import ctypes
import mmap
import os
import struct
import sys

# Symbols of what is loaded first stand for Bochs' own of the same name.
sys.setdlopenflags(os.RTLD_LAZY | os.RTLD_GLOBAL)
for library in sys.argv[2:]:
    ctypes.CDLL(library, ctypes.RTLD_GLOBAL | os.RTLD_LAZY)

import bochscpu  # noqa: E402
import bochscpu.cpu  # noqa: E402
import bochscpu.memory  # noqa: E402

PAGE = bochscpu.memory.page_size()
PAGE_TABLES, SYSCALL_ENTRY = 0x1000, 0x8000  # below every program
HEAP_END, MAPPINGS_END, MEMORY_END = 64 << 20, 240 << 20, 256 << 20  # the rest is the stack
ENOSYS, ENOMEM = -38, -12


class Memory:
    """Physical memory, at the same addresses for the program."""

    def __init__(self):
        self.bytes = mmap.mmap(-1, MEMORY_END)
        host = ctypes.addressof(ctypes.c_char.from_buffer(self.bytes))
        for address in range(0, MEMORY_END, PAGE):
            bochscpu.memory.page_insert(address, host + address)
        # Three levels of tables; the entries of the last are pages of 2 MiB. 7: present, writable, the user's.
        self.write_words(PAGE_TABLES, [PAGE_TABLES + PAGE | 7])
        self.write_words(PAGE_TABLES + PAGE, [PAGE_TABLES + 2 * PAGE | 7])
        self.write_words(PAGE_TABLES + 2 * PAGE, [address | 0x87 for address in range(0, MEMORY_END, 2 << 20)])

    def write(self, address, data):
        self.bytes[address : address + len(data)] = data

    def write_words(self, address, words):
        self.write(address, struct.pack(f"<{len(words)}Q", *words))


def succeed(*_):
    return 0


def fail(*_):
    return ENOSYS


class Program:
    def __init__(self, path, memory):
        with open(path, "rb") as file:
            image = file.read()
        self.memory = memory
        self.exit_code = None
        entry, headers = struct.unpack_from("<QQ", image, 24)
        header_size, header_count = struct.unpack_from("<HH", image, 54)
        end = 0
        for i in range(header_count):
            kind, _, offset, address, _, size, size_in_memory = struct.unpack_from(
                "<IIQQQQQ", image, headers + i * header_size
            )
            if kind == 1:  # to be loaded
                if offset == 0:
                    headers_address = address + headers
                memory.write(address, image[offset : offset + size])
                end = max(end, address + size_in_memory)
        self.heap = end + PAGE - end % PAGE
        self.mappings = HEAP_END
        self.entry = entry
        self.stack = self.lay_stack({3: headers_address, 4: header_size, 5: header_count, 6: PAGE, 9: entry})

    def lay_stack(self, auxiliary):
        """What a program finds on its stack: argc, argv, the environment, and the auxiliary vector of the ABI."""
        texts = MEMORY_END - PAGE
        environment = [b"QWEN_VL_NPU_OPS_ISA=" + os.environb.get(b"QWEN_VL_NPU_OPS_ISA", b"")]
        places = []
        for text in (b"program", *environment):
            places.append(texts)
            self.memory.write(texts, text + b"\0")
            texts += len(text) + 1
        random = texts  # 16 bytes, any
        vector = [word for pair in {**auxiliary, 25: random, 0: 0}.items() for word in pair]
        stack = MEMORY_END - 2 * PAGE
        self.memory.write_words(stack, [1, places[0], 0, *places[1:], 0, *vector])
        return stack

    def system_call(self, session):
        cpu = session.cpu
        calls = {
            1: self.write,
            9: self.map,
            10: succeed,  # mprotect
            11: succeed,  # munmap: no address is used twice
            12: self.set_heap_end,
            158: self.set_thread_pointer,
            202: succeed,  # futex: no other thread waits
            231: self.exit,
        }
        result = calls.get(cpu.rax, fail)(session, cpu.rdi, cpu.rsi, cpu.rdx)
        cpu.rax = result % 2**64

    def write(self, session, file, address, size):
        os.write(file, self.memory.bytes[address : address + size])
        return size

    def map(self, session, address, size, protection):
        begin = self.mappings
        end = begin + size + -size % PAGE
        if end > MAPPINGS_END:
            return ENOMEM
        self.mappings = end
        return begin

    def set_heap_end(self, session, end, *_):
        if end <= HEAP_END:
            self.heap = max(self.heap, end)  # never given back: what comes new must be zero
        return self.heap

    def set_thread_pointer(self, session, code, address, _):
        if code != 0x1002:  # ARCH_SET_FS
            return ENOSYS
        session.cpu.fs = data_segment(address)
        return 0

    def exit(self, session, code, *_):
        self.exit_code = code
        session.stop()
        return 0

    def exception(self, session, _, vector, code):
        print(f"exception {vector}, code {code}, at {session.cpu.rip:#x}", file=sys.stderr)
        self.exit(session, 1)


def segment(selector, attributes, base=0):
    result = bochscpu.Segment()
    result.present = True
    result.selector, result.attr, result.base, result.limit = selector, attributes, base, 0xFFFFFFFF
    return result


def data_segment(base=0):
    return segment(0x1B, 0xCF3, base)


def user_state(program):
    """The processor as Linux hands it to a program: long mode, every vector register enabled."""
    state = bochscpu.State()
    bochscpu.cpu.set_long_mode(state)
    state.cr3 = PAGE_TABLES
    state.cr4 |= 1 << 9 | 1 << 10 | 1 << 18  # SSE, its exceptions, XSAVE
    state.xcr0 = 0xE7  # x87, SSE, AVX, AVX-512
    state.fpcw, state.fptw, state.mxcsr, state.mxcsr_mask = 0x37F, 0xFFFF, 0x1F80, 0xFFFF
    state.lstar, state.star = SYSCALL_ENTRY, 0x10 << 48 | 0x8 << 32
    state.rip, state.rsp, state.rflags = program.entry, program.stack, 2
    state.cs = segment(0x23, 0x20FB)
    state.ss = state.ds = state.es = state.fs = state.gs = data_segment()
    return state


def main():
    memory = Memory()
    program = Program(sys.argv[1], memory)
    # wbinvd; sysretq. The first is one of the few instructions that Bochs reports.
    memory.write(SYSCALL_ENTRY, b"\x0f\x09\x48\x0f\x07")
    hook = bochscpu.Hook()
    hook.cache_cntrl = lambda session, *_: program.system_call(session)
    hook.exception = program.exception
    session = bochscpu.Session()
    session.cpu.state = user_state(program)
    session.run([hook])
    return program.exit_code


sys.exit(main())
