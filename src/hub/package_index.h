// Finds a file's address in a Python package index ("simple" API, PEP 503 as HTML and PEP 691 as JSON).
#pragma once

#include "base/result.h"
#include "hub/settings.h"

#include <string>
#include <string_view>

namespace lucebox::hub {

// Where the index says that `filename` of `package` is. Its hash is not believed; callers know their own.
Result<std::string> find_package_file(const HubSettings& settings, std::string_view package, std::string_view filename);

// The same for a page that was fetched from `page_url`; for tests. Nothing in the page is trusted.
Result<std::string> find_link(std::string_view page, const std::string& page_url, std::string_view filename);

} // namespace lucebox::hub
