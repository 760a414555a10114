// What the machine is: from the wrapper's variables, from this process' own view, and from neither.
#include "hub/gpus.h"
#include "hub/host_facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <fstream>

namespace lucebox::hub {
namespace {

using Json = nlohmann::ordered_json;
namespace fs = std::filesystem;

class HostFacts : public testing::Test {
protected:
    HostFacts() : root_(fs::path(testing::TempDir()) / ("host_facts_" + std::string(testing::UnitTest::GetInstance()->current_test_info()->name()))) {
        fs::remove_all(root_);
        fs::create_directories(root_);
    }
    ~HostFacts() override { fs::remove_all(root_); }

    void put(const std::string& path, const std::string& content) {
        fs::create_directories((root_ / path).parent_path());
        std::ofstream(root_ / path) << content;
    }
    Json facts(const Environment& environment, const std::string& nvml = "no-such-library.so") {
        return Json::parse(host_facts_json(environment, "2026-06-01T12:00:00Z", {root_, nvml}));
    }

    fs::path root_;
};

TEST_F(HostFacts, what_the_wrapper_says_wins) {
    put("etc/os-release", "PRETTY_NAME=\"Inside\"\n");
    const Json json = facts({{"LUCEBOX_HOST_OS_PRETTY", "Outside 12"},
                             {"LUCEBOX_HOST_KERNEL", "6.1"},
                             {"LUCEBOX_HOST_NPROC", "32"},
                             {"LUCEBOX_HOST_RAM_GB", "64"},
                             {"LUCEBOX_HOST_DRIVER_VERSION", "580.1"},
                             {"LUCEBOX_HOST_GPU_LIST_CSV", "0,GPU-a,0000:01,NVIDIA RTX 3090, 8.6 ,24576 MiB,175.00 W\n1,,,Other,,[N/A],[N/A]"}});
    EXPECT_EQ(json["os_pretty"], "Outside 12");
    EXPECT_EQ(json["kernel"], "6.1");
    EXPECT_EQ(json["nproc"], 32);
    EXPECT_EQ(json["nvidia_driver"], "580.1");
    EXPECT_EQ(json["source"], "lucebox.sh");
    ASSERT_EQ(json["gpus"].size(), 2u);
    EXPECT_EQ(json["gpus"][0], Json::parse(R"({"index":0,"uuid":"GPU-a","pci_bus_id":"0000:01","name":"NVIDIA RTX 3090","sm":"8.6","vram_gb":24,"power_limit_w":175})"));
    EXPECT_EQ(json["gpus"][1], Json::parse(R"({"index":1,"uuid":null,"pci_bus_id":null,"name":"Other","sm":null,"vram_gb":null,"power_limit_w":null})"));
}

TEST_F(HostFacts, without_the_wrapper_the_own_view_is_told_and_named) {
    put("etc/os-release", "NAME=x\nPRETTY_NAME=\"Inside 1\"\n");
    put("proc/cpuinfo", "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n");
    put("proc/meminfo", "MemTotal:       65831112 kB\n");
    put("proc/version", "Linux version 5.15-microsoft-standard-WSL2\n");
    const Json json = facts({{"CUDA_VISIBLE_DEVICES", "0"}}, FAKE_NVML);
    EXPECT_EQ(json["source"], "container");
    EXPECT_EQ(json["os_pretty"], "Inside 1");
    EXPECT_EQ(json["cpu_model"], "Some CPU @ 3 GHz");
    EXPECT_EQ(json["ram_gb"], 63);
    EXPECT_EQ(json["wsl_version"], "wsl2");
    EXPECT_EQ(json["nvidia_driver"], "580.65.06");
    EXPECT_EQ(json["cuda_visible_devices"], "0");
    ASSERT_EQ(json["gpus"].size(), 2u);
    EXPECT_EQ(json["gpus"][0], Json::parse(R"({"index":0,"uuid":"GPU-1234","pci_bus_id":"00000000:01:00.0","name":"NVIDIA GeForce RTX 4090","sm":"8.9","vram_gb":23,"power_limit_w":450})"));
    EXPECT_EQ(json["gpus"][1]["vram_gb"], nullptr); // the driver does not say
    EXPECT_EQ(json["gpus"][1]["sm"], "12.1");
}

TEST_F(HostFacts, what_is_not_known_is_null) {
    const Json json = facts({});
    for (const char* key : {"os_pretty", "wsl_version", "docker_version", "nvidia_driver", "nvidia_ctk_version", "cpu_model", "ram_gb", "cuda_visible_devices"}) {
        ASSERT_TRUE(json.contains(key)) << key;
        EXPECT_TRUE(json[key].is_null()) << key;
    }
    EXPECT_EQ(json["gpus"], Json::array());
    EXPECT_EQ(json["collected_at"], "2026-06-01T12:00:00Z");
}

TEST_F(HostFacts, nonsense_is_null_and_never_fails) {
    put("proc/meminfo", "MemTotal: lots\n");
    put("proc/cpuinfo", std::string(100'000, '\xff'));
    const Json json = facts({{"LUCEBOX_HOST_NPROC", "many"}, {"LUCEBOX_HOST_OS_PRETTY", "\xff\xfe"}, {"LUCEBOX_HOST_GPU_LIST_CSV", ",,\n\n,,,,,,,,,,,"}, {"LUCEBOX_HOST_RAM_GB", "1e300"}});
    EXPECT_TRUE(json["nproc"].is_null());
    EXPECT_TRUE(json["ram_gb"].is_null());
}

TEST_F(HostFacts, cards_of_amd_are_read_from_the_kernel) {
    put("sys/class/drm/card0/device/mem_info_vram_total", "17163091968\n");
    put("sys/class/drm/card1/device/vendor", "0x8086\n");
    put("sys/class/drm/card2/device/mem_info_vram_total", "99999999999999999999999\n");
    put("sys/class/drm/card0-DP-1/status", "connected\n");
    const GpuList list = find_gpus({"no-such-library.so", root_});
    ASSERT_EQ(list.gpus.size(), 1u);
    EXPECT_EQ(list.gpus[0].vendor, "amd");
    EXPECT_EQ(list.gpus[0].vram_mib, 16368u);
}

TEST_F(HostFacts, device_files_tell_whether_a_gpu_was_given) {
    EXPECT_FALSE(has_gpu_device_files(root_));
    put("dev/nvidiactl", "");
    EXPECT_FALSE(has_gpu_device_files(root_)); // the driver is there, no card
    put("dev/nvidia3", "");
    EXPECT_TRUE(has_gpu_device_files(root_));
    fs::remove(root_ / "dev/nvidia3");
    put("dev/dxg", "");
    EXPECT_TRUE(has_gpu_device_files(root_));
}

TEST(HostInfoPath, is_where_the_variables_say) {
    EXPECT_EQ(host_info_path({{"LUCEBOX_HOST_INFO", "/a"}, {"DFLASH_HOST_INFO_PATH", "/b"}}), "/a");
    EXPECT_EQ(host_info_path({{"DFLASH_HOST_INFO_PATH", "/b"}}), "/b");
    EXPECT_EQ(host_info_path({}), "/opt/lucebox-hub/HOST_INFO");
}

} // namespace
} // namespace lucebox::hub
