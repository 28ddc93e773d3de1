#include <nanobind/nanobind.h>

NB_MODULE(_rans, module) {
    module.attr("VERSION") = 0;
}
