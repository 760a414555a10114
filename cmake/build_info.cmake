# Run at every build: writes build_info.cpp, and touches it only when something changed. GIT_SHA, IMAGE_TAG and BUILD_TIME
# come from the environment where there is no repository (a container build); without either they stay empty.
set(sha "$ENV{GIT_SHA}")
if(sha STREQUAL "")
  execute_process(COMMAND git -C ${SOURCE_DIR} rev-parse HEAD OUTPUT_VARIABLE sha OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
  if(NOT sha STREQUAL "")
    execute_process(COMMAND git -C ${SOURCE_DIR} status --porcelain --untracked-files=no OUTPUT_VARIABLE changes ERROR_QUIET)
    if(NOT changes STREQUAL "")
      string(APPEND sha "-dirty")
    endif()
  endif()
endif()
file(WRITE ${OUTPUT}.new "// Written by cmake/build_info.cmake.
#include \"base/build_info.h\"

namespace lucebox {

const BuildInfo& build_info() {
    static constexpr BuildInfo info{\"${VERSION}\", \"${sha}\", \"$ENV{IMAGE_TAG}\", \"$ENV{BUILD_TIME}\", \"${COMPILER}\"};
    return info;
}

} // namespace lucebox
")
file(COPY_FILE ${OUTPUT}.new ${OUTPUT} ONLY_IF_DIFFERENT)
