// AscendC on the CPU: declares what kernels for the A2 (910B, arch 2201) use, with the names, signatures and
// struct layouts of CANN's headers, so that kernel source compiles against either. What is not declared here
// does not compile; what is declared and cannot be done raises, and names itself.
#pragma once

#include "ascendc/base.h"
#include "ascendc/copy.h"
#include "ascendc/cube.h"
#include "ascendc/fixpipe.h"
#include "ascendc/half.h"
#include "ascendc/params.h"
#include "ascendc/sync.h"
#include "ascendc/system.h"
#include "ascendc/tensor.h"
#include "ascendc/tpipe.h"
#include "ascendc/vector_binary.h"
#include "ascendc/vector_compare.h"
#include "ascendc/vector_convert.h"
#include "ascendc/vector_rearrange.h"
#include "ascendc/vector_reduce.h"
#include "ascendc/vector_scalar.h"
#include "ascendc/vector_unary.h"
#include "sim/launch.h"
