#include "base/shown_path.h"

#include <gtest/gtest.h>

namespace lucebox {
namespace {

TEST(ShownPath, AFolderIsCalledWhatTheHostCallsIt) {
    const Environment host{{"LUCEBOX_SHOWN_PATHS", "/models=/home/me/the models\n/config=/home/me/a=b"}};
    EXPECT_EQ(shown_path("/models/draft/d.gguf", host), "/home/me/the models/draft/d.gguf");
    EXPECT_EQ(shown_path("/models", host), "/home/me/the models");
    EXPECT_EQ(shown_path("/config/config.toml", host), "/home/me/a=b/config.toml");
    EXPECT_EQ(shown_path("/models2/m.gguf", host), "/models2/m.gguf");
    EXPECT_EQ(shown_path("/home/me/m.gguf", host), "/home/me/m.gguf");
}

TEST(ShownPath, WithoutTheHostsWordAndWithNonsenseItStays) {
    EXPECT_EQ(shown_path("/models/m.gguf", {}), "/models/m.gguf");
    for (const char* nonsense : {"", "=", "\n\n", "/models", "=/home/me", "/model=/x\n"}) {
        EXPECT_EQ(shown_path("/models/m.gguf", Environment{{"LUCEBOX_SHOWN_PATHS", nonsense}}), "/models/m.gguf") << nonsense;
    }
}

} // namespace
} // namespace lucebox
