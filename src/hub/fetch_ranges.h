// Ranges of one file over several connections at once, for large files: one connection seldom fills a line. Private to the
// downloads.
#pragma once

#include "hub/curl_request.h"

namespace lucebox::hub {

// One try at completing `part`. The file stays a beginning of the whole at all times: what arrives ahead of a gap is held in
// memory, at most two ranges for each connection, and is lost with the try. A connection that fails behind the first gap costs
// itself and nothing else; the first gap's ends the try if it brought nothing. no_ranges: the server sends whole files only.
Attempt fetch_ranges(const HubSettings& settings, const std::string& url, PartFile& part, const FetchProgress& progress,
                     const RequestRules& rules);

} // namespace lucebox::hub
