#include "app/report_file.h"

#include "base/file.h"

namespace lucebox::app {

Status write_report(const Options& options, const nlohmann::ordered_json& report) {
    if (!options.is_set("report")) return Ok{};
    const std::string text = report.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
    return write_file_atomically(options.path("report"), std::as_bytes(std::span(text)));
}

} // namespace lucebox::app
