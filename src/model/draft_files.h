// Which files may be the draft of a model, by how they are called and where they lie. Whether one fits is in it, not in its
// name: see dflash_target.h.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace lucebox::model {

// "a/Name.Q4_1.gguf" -> "Name.dflash.gguf": one draft serves all weight types of a model.
std::string draft_name(const std::filesystem::path& model);

bool is_draft_name(std::string_view filename); // no model of its own: its name says dflash
bool is_draft_folder(std::string_view name);   // what lies there are drafts: draft, drafts, dflash and the names of earlier images

// Files for this model, the most likely first:
//   1. draft_name() beside the model and in `folders`;
//   2. in folders of drafts there, four levels down, and with dflash in its name beside models: what is called after the model, then
//      after its family (gemma-4-26b, gemma-4-31b, gemma-4, qwen3.6, laguna);
//   3. in folders of drafts: dflash-draft-*.gguf, *dflash*.gguf, *.gguf, model.safetensors, *.safetensors.
// Of equal rank by name, letters of either case alike. Safetensors are called as their folder is. Links are followed.
std::vector<std::filesystem::path> draft_files(const std::filesystem::path& model, std::span<const std::filesystem::path> folders);

// The same within one folder that was named as the draft: all that lies in it counts.
std::vector<std::filesystem::path> draft_files_in(const std::filesystem::path& folder, const std::filesystem::path& model);

} // namespace lucebox::model
