// SPDX-License-Identifier: MIT
//
// Error, Result and the words of a Completion: what a caller and an operator read. No kernel.
#include <gtest/gtest.h>

#include <cerrno>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "squall/completion.hpp"
#include "squall/error.hpp"
#include "squall/io.hpp"

namespace squall {
namespace {

TEST(Error, IsFalseAndEmptyWhenThereIsNone) {
    const Error none;
    EXPECT_FALSE(none);
    EXPECT_EQ(none.code(), 0);
    EXPECT_EQ(none.message(), "");
}

TEST(Error, CarriesTheErrnoWhatWasDoneAndWhatToDo) {
    const Error error(ENOMEM, "registering 5 bytes", "buy more");
    EXPECT_TRUE(error);
    EXPECT_EQ(error.code(), ENOMEM);
    EXPECT_EQ(error.doing(), "registering 5 bytes");
    EXPECT_EQ(error.message(), "registering 5 bytes: ENOMEM (Cannot allocate memory): buy more");
}

TEST(Error, NamesAnErrnoItHasNoNameForByItsNumber) {
    EXPECT_NE(Error(EHWPOISON, "reading").message().find("errno 133"), std::string::npos);
}

TEST(ErrorDeathTest, IsNeverMadeFromANegativeErrno) { EXPECT_DEATH(Error(-EIO, "x"), "positive errno value, not -5"); }

Result<int> parse(bool good) {
    if (good) return 7;
    return Error(EINVAL, "parsing");
}

TEST(Result, HoldsAValueOrAnError) {
    const auto good = parse(true);
    ASSERT_TRUE(good);
    EXPECT_TRUE(good.has_value());
    EXPECT_EQ(*good, 7);
    EXPECT_EQ(good.value(), 7);
    EXPECT_EQ(good.value_or(1), 7);
    const auto bad = parse(false);
    ASSERT_FALSE(bad);
    EXPECT_EQ(bad.error().code(), EINVAL);
    EXPECT_EQ(bad.value_or(1), 1);
}

TEST(Result, MovesAMoveOnlyValueOut) {
    Result<std::unique_ptr<int>> result(std::make_unique<int>(3));
    EXPECT_EQ(**result, 3);
    const std::unique_ptr<int> out = std::move(result).value();
    EXPECT_EQ(*out, 3);
}

TEST(Result, LetsALoopWalkTheValueOfATemporary) {
    const auto words = [] { return Result<std::vector<std::string>>({std::string(100, 'a'), std::string(100, 'b')}); };
    std::string seen;
    for (const std::string& word : *words()) seen += word[0];  // ASan would see a vector that is gone
    EXPECT_EQ(seen, "ab");
}

TEST(Result, IsMadeFromWhatConvertsToItsValue) {
    const auto name = []() -> Result<std::string> { return "squall"; };
    EXPECT_EQ(*name(), "squall");
}

TEST(Result, OfVoidIsSuccessOrAnError) {
    EXPECT_TRUE(Result<void>());
    Result<void>().value();
    const Result<void> bad(Error(EIO, "x"));
    EXPECT_FALSE(bad);
    EXPECT_EQ(bad.error().code(), EIO);
}

TEST(ResultDeathTest, AbortsWithTheErrorWhenAskedForAValueItLacks) {
    EXPECT_DEATH((void)parse(false).value(), "parsing: EINVAL");
    EXPECT_DEATH((void)*parse(false), "parsing: EINVAL");
    EXPECT_DEATH((void)parse(true).error(), "holds a value, not an error");
    EXPECT_DEATH(Result<void>(Error(EIO, "mending")).value(), "mending: EIO");
    EXPECT_DEATH((void)Result<void>().error(), "holds a value, not an error");
}

TEST(ResultDeathTest, IsNeverMadeFromNoError) {
    EXPECT_DEATH((void)Result<int>(Error()), "a failed Result has an errno");
    EXPECT_DEATH((void)Result<void>(Error()), "a failed Result has an errno");
}

TEST(Completion, HasNoErrorForAResultOfZeroOrMore) {
    EXPECT_FALSE((Completion{1, 0, 0}.error()));
    EXPECT_FALSE((Completion{1, 4096, 0}.error()));
    EXPECT_TRUE((Completion{1, 0, 0}.ok()));
}

TEST(Completion, ExplainsAnErrnoAndNamesItsToken) {
    const Completion failed{UINT64_MAX, -EINVAL, 0};
    EXPECT_FALSE(failed.ok());
    const Error error = failed.error();
    EXPECT_EQ(error.code(), EINVAL);
    EXPECT_NE(error.message().find("18446744073709551615"), std::string::npos);
    EXPECT_NE(error.message().find("direct_io_alignment"), std::string::npos);
}

TEST(Completion, ExplainsAResultThatNoErrnoIsTheNegativeOf) {
    const Completion completion{5, std::numeric_limits<std::int32_t>::min(), 0};
    EXPECT_EQ(completion.error().code(), std::numeric_limits<int>::max());
    EXPECT_EQ(transfer_error(completion, -1, {}, 0).code(), std::numeric_limits<int>::max());
}

TEST(Completion, ExplainsWhatAStorageEngineMeets) {
    for (const int code : {EIO, ENOSPC, EDQUOT, EFBIG, EROFS, EBADF, EFAULT, ECANCELED, EMFILE, ENFILE, EACCES, EPERM,
                           EOPNOTSUPP, ENAMETOOLONG, EAGAIN, ENOMEM}) {
        const std::string message = Completion{5, -code, 0}.error().message();
        EXPECT_NE(message.find("): "), std::string::npos) << "no advice in: " << message;
    }
}

TEST(Completions, ExplainEveryWayInWhichTheRingItselfFails) {
    for (const int code : {EEXIST, ESTALE, EAGAIN, EBUSY, EPERM, EACCES, ENOSYS, EOWNERDEAD, EBADF, EBADFD}) {
        const Completions nothing(code);
        EXPECT_TRUE(nothing.empty());
        EXPECT_EQ(nothing.error().code(), code);
        EXPECT_NE(nothing.error().message().find("): "), std::string::npos) << nothing.error().message();
    }
    EXPECT_FALSE(Completions(0).error());
}

TEST(Assertion, NamesThePlaceTheExpressionAndTheOperands) {
    const int leases = 3;
    EXPECT_DEATH(SQUALL_ASSERT(leases == 0, "%d leases are out", leases),
                 "squall: .*error_test.cpp:[0-9]+: leases == 0: 3 leases are out");
}

}  // namespace
}  // namespace squall
