# SPDX-License-Identifier: MIT
#
# NOPs through the kernel, against liburing; no file is read or written.
program=bench/nop_cost
peer_needed=1
check_options() { :; }
ask() { measure_rounds --benchmark_enable_random_interleaving=true; }
