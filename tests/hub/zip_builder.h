// Writes small ZIP archives for tests, independently of the code under test.
#pragma once

#include <string>
#include <vector>
#include <zlib.h>

namespace lucebox::hub {

class ZipBuilder {
public:
    ZipBuilder& add(const std::string& name, const std::string& content, bool deflate = true) {
        const std::string data = deflate ? deflated(content) : content;
        const auto crc = static_cast<std::uint32_t>(
            ::crc32(0, reinterpret_cast<const Bytef*>(content.data()), static_cast<uInt>(content.size())));
        std::string
            common; // shared by both headers: version to need, flags, method, time, date, crc, sizes, name length
        append(common, 20, 2), append(common, 0, 2), append(common, deflate ? 8 : 0, 2), append(common, 0, 4);
        append(common, crc, 4), append(common, data.size(), 4), append(common, content.size(), 4);
        append(common, name.size(), 2);
        append(directory_, 0x02014b50, 4), append(directory_, 20, 2);
        directory_ += common;
        append(directory_, 0, 2), append(directory_, 0, 2), append(directory_, 0, 2), append(directory_, 0, 2);
        append(directory_, 0, 4), append(directory_, bytes_.size(), 4);
        directory_ += name;
        append(bytes_, 0x04034b50, 4);
        bytes_ += common;
        append(bytes_, 3, 2); // an extra field that only the local header has
        bytes_ += name + "xyz" + data;
        ++count_;
        return *this;
    }

    std::string build(const std::string& comment = "") const {
        std::string result = bytes_ + directory_;
        append(result, 0x06054b50, 4), append(result, 0, 4), append(result, count_, 2), append(result, count_, 2);
        append(result, directory_.size(), 4), append(result, bytes_.size(), 4), append(result, comment.size(), 2);
        return result + comment;
    }

private:
    static void append(std::string& text, std::size_t value, int bytes) {
        for (int i = 0; i < bytes; ++i)
            text += static_cast<char>(value >> (8 * i) & 0xff);
    }
    static std::string deflated(const std::string& content) {
        z_stream stream{};
        deflateInit2(&stream, 6, Z_DEFLATED, -MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
        std::string out(deflateBound(&stream, content.size()), '\0');
        stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(content.data()));
        stream.avail_in = static_cast<uInt>(content.size());
        stream.next_out = reinterpret_cast<Bytef*>(out.data());
        stream.avail_out = static_cast<uInt>(out.size());
        ::deflate(&stream, Z_FINISH);
        out.resize(stream.total_out);
        deflateEnd(&stream);
        return out;
    }

    std::string bytes_;
    std::string directory_;
    std::size_t count_ = 0;
};

} // namespace lucebox::hub
