// Takes one member out of a ZIP archive without holding either in memory.
//
// Reads the central directory, so what follows or precedes the archive does not matter. Members stored or deflated,
// below 4 GiB, unencrypted; anything else is an error. Any bytes are safe as input. Format: PKWARE's APPNOTE.TXT 6.3.
#pragma once

#include "base/file.h"

#include <cstdint>
#include <functional>
#include <string_view>

namespace lucebox::hub {

// Takes the next bytes of a member; an error stops the extraction and is passed on.
using ByteSink = std::function<Status(std::span<const std::byte>)>;

// Succeeds only if the member had its announced length and CRC-32; what the sink took before an error is void.
Status extract_zip_member(const File& archive, std::string_view member, const ByteSink& sink);

} // namespace lucebox::hub
