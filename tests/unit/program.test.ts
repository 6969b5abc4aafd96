import { run, useTemporaryHome } from "./support/mocks";
describe("try", function(){ this.timeout(60000);
 let u: any; before(()=>{u=useTemporaryHome()}); after(()=>u());
 for (const preview of [false,true]) it("x"+preview, async()=>{
  const deploy = require("../../index");
  const r = await run(deploy, {config:{"gateway:targets":["local"],"gateway:pool":{size:2}}, preview});
  for (const x of r.resources) console.log(x.type,x.name,x.parent,x.dependencies.join(","),x.secretInputs,x.provider,x.additionalSecretOutputs, x.deleteBeforeReplace, Object.keys(x.inputs).join());
  console.log(r.result);
  console.log(JSON.stringify(r.resources.map(x=>({...x,inputs:{...x.inputs,machine:(x.inputs.machine as any)?.name ?? x.inputs.machine,__provider:String(x.inputs.__provider).length}}))).slice(0,3000));
 });
});
