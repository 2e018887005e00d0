-- Orthanc forwards each radiograph that it stores to hilum. What hilum sends back is no radiograph, and goes nowhere.
function OnStoredInstance(instance, tags, metadata)
   if tags['Modality'] == 'DX' or tags['Modality'] == 'CR' then
      SendToModality(instance, 'hilum')
   end
end
