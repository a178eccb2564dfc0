# SPDX-License-Identifier: MIT
#
# What a ring costs around its operations: idle polls, wake-ups, creating and destroying, leases. No file is read or written.
program=bench/ring_cost
peer_needed=1
check_options() { :; }
ask() { measure_rounds --benchmark_enable_random_interleaving=true; }
