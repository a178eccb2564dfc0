# SPDX-License-Identifier: MIT
#
# squall's own cost per operation, the kernel's side replaced by memory; no file is read or written.
program=bench/own_cost
peer_needed=1
check_options() { :; }
ask() { measure_rounds --benchmark_enable_random_interleaving=true; }
