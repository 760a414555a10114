// Files of a repository on Hugging Face, or on a mirror that speaks like it.
//
// The endpoint is the user's choice and may be anything; where it leads must be HTTPS on a public address, and gets no token.
// A file appears under its own name only when its hash was right: that of the registry where it knows one, else the SHA-256
// that the endpoint states. Beside it FILE.source.json keeps what was fetched from where, with the hash that was found.
// In the folder: FILE (complete), FILE.part (being fetched; a later start goes on). Blocking; called from one thread.
#pragma once

#include "hub/hub.h"

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lucebox::hub {

struct HubFile {
    std::string repository, revision, path; // as in RepositoryFile; of a split model one part
    std::uint64_t bytes = 0;                // 0: the endpoint says
    std::string sha256;                     // empty: not known
};

// The files that `file` stands for: itself, or all parts of a split model.
std::vector<HubFile> parts_of(const RepositoryFile& file);

// What to do to a file: its address, what the endpoint says of it.
struct HubLocation {
    std::string url;          // at the end of all redirects
    bool same_server = false; // as the endpoint, which is shown the token
    std::uint64_t bytes = 0;
    std::string sha256, commit; // empty: not stated
};
Result<HubLocation> locate(const HubFile& file, const HubSettings& settings);

// Fetches into `folder`; says how far what arrived could be checked. All files must fit on the disk before the first begins.
Status fetch_from_hub(const std::vector<HubFile>& files, const std::filesystem::path& folder, const HubSettings& settings,
                      const Progress& progress);

std::uint64_t fetched_bytes(const std::vector<HubFile>& files, const std::filesystem::path& folder);

struct SourceNote {
    std::string repository, revision, commit, sha256; // of what came as a package: its name and its file
    bool checked = false;                             // the hash was compared with one that somebody stated
    std::string path;
    std::uint64_t bytes = 0;
};
Status leave_note(const std::filesystem::path& file, const SourceNote& note);
std::optional<SourceNote> source_note(const std::filesystem::path& file);
std::filesystem::path source_note_path(const std::filesystem::path& file);

} // namespace lucebox::hub
