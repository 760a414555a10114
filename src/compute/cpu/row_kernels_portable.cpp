// The row kernels for any machine. Standard headers come before the target is raised: what they define
// inline is shared with code that runs everywhere.
#include "compute/cpu/row_kernels.h"
#include "gguf/blocks.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#define LUCEBOX_ROW_LANES 1
#define LUCEBOX_ROW_KERNELS row_kernels_portable
#include "compute/cpu/row_kernels.inc"
