-- Health of Distributions and Origins for Argo CD: see "Argo CD" in docs/operations.md.
-- The same judgement as kstatus, and Suspended, which kstatus does not have.
local function progressing(message)
  return {status = "Progressing", message = message}
end

if obj.metadata.deletionTimestamp ~= nil then
  return progressing("being deleted")
end
local status = obj.status
if status == nil or status.conditions == nil then
  return progressing("waiting for the operator")
end
-- A status of before the last edit says nothing of it.
if status.observedGeneration ~= obj.metadata.generation then
  return progressing("the operator has not seen the last change yet")
end

local conditions = {}
for _, condition in ipairs(status.conditions) do
  conditions[condition.type] = condition
end
local ready = conditions["Ready"]
local stalled = conditions["Stalled"]
if stalled ~= nil and stalled.status == "True" then
  return {status = "Degraded", message = stalled.reason .. ": " .. stalled.message}
end
if ready == nil then
  return progressing("waiting for the operator")
end
if ready.status == "True" then
  return {status = "Healthy", message = ready.message}
end
if ready.reason == "Suspended" then
  return {status = "Suspended", message = ready.message}
end
return progressing(ready.reason .. ": " .. ready.message)
