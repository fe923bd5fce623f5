// CANN's own operators are not here; their compiler's options, which torch_npu sets when it starts, are
// taken.
#include <acl/acl_op_compiler.h>

#include "runtime.h"

namespace {
std::mutex options_mutex;
std::map<aclSysParamOpt, int64_t> options;
}  // namespace

extern "C" {

aclError aclSetCompileopt(aclCompileOpt, const char*) {
  COUNT_CALL();
  return ACL_SUCCESS;
}

size_t aclGetCompileoptSize(aclCompileOpt) {
  COUNT_CALL();
  return 1;
}

aclError aclGetCompileopt(aclCompileOpt, char* value, size_t length) {
  COUNT_CALL();
  RETURN_IF_NULL(value);
  if (length) *value = 0;
  return ACL_SUCCESS;
}

aclError aclrtCtxSetSysParamOpt(aclSysParamOpt option, int64_t value) {
  COUNT_CALL();
  const std::lock_guard<std::mutex> lock(options_mutex);
  options[option] = value;
  return ACL_SUCCESS;
}

aclError aclrtSetSysParamOpt(aclSysParamOpt option, int64_t value) {
  COUNT_CALL();
  const std::lock_guard<std::mutex> lock(options_mutex);
  options[option] = value;
  return ACL_SUCCESS;
}

aclError aclrtGetSysParamOpt(aclSysParamOpt option, int64_t* value) {
  COUNT_CALL();
  RETURN_IF_NULL(value);
  const std::lock_guard<std::mutex> lock(options_mutex);
  const auto set = options.find(option);
  *value = set == options.end() ? 0 : set->second;
  return ACL_SUCCESS;
}

}  // extern "C"
