// SPDX-License-Identifier: MIT
//
// A program of the parent's that has nothing to do with squall: see meson.build.
int main() {}
