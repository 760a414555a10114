// Preloaded into the server: once the file that ENDLESS_THREADS names is there, no thread ever ends for who waits for it.
#include <cstdlib>
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

extern "C" int pthread_join(pthread_t thread, void** result) {
    if (const char* file = std::getenv("ENDLESS_THREADS"); file != nullptr && access(file, F_OK) == 0) {
        for (;;) pause();
    }
    using Join = int (*)(pthread_t, void**);
    return reinterpret_cast<Join>(dlsym(RTLD_NEXT, "pthread_join"))(thread, result);
}
